//! A server of a test's own, to be treated badly.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio_postgres::Config;

/// Names the folder with the server's programs.
const PROGRAMS: &str = "RINGBACK_POSTGRES_BIN";

/// Whether there are programs to make one with.
pub(crate) fn can_be_made() -> bool {
    std::env::var_os(PROGRAMS).is_some()
}

/// A server with its data in a folder of its own. Dropped, it is stopped and removed.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    port: u16,
    /// Who runs it, if we are root, whom it would refuse.
    user: Option<(u32, u32)>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ringback").tempdir().unwrap();
        let is_root = fs::metadata(folder.path()).unwrap().uid() == 0;
        let user = is_root.then(unprivileged);
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        // Free at present.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let cluster = Self { folder, port, user };
        let initdb = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ];
        cluster.run("initdb", initdb.map(OsString::from));
        cluster.go_on();
        cluster
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn config(&self) -> Config {
        self.url().parse().unwrap()
    }

    /// Ends at once: nothing is finished or written down.
    pub(crate) fn crash(&self) {
        let stop = ["stop", "--wait", "--mode=immediate"];
        self.run("pg_ctl", stop.map(OsString::from));
    }

    /// Starts, after a crash with what was committed. Returns once it takes connections.
    pub(crate) fn go_on(&self) {
        let port = self.port;
        let options = format!("--port={port} --listen-addresses=127.0.0.1 --unix-socket-directories=''");
        let start = ["start", "--wait", "--timeout=120", "--options", &options, "--log"];
        let start = start.map(OsString::from).into_iter().chain([self.log().into()]);
        self.run("pg_ctl", start);
    }

    /// What the server has written to its log.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn run(&self, program: &str, arguments: impl IntoIterator<Item = OsString>) {
        let output = self.folder.path().join("output");
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdout(fs::File::create(&output).unwrap())
            .stderr(fs::File::options().append(true).open(&output).unwrap());
        let succeeded = command.status().unwrap().success();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        assert!(succeeded, "{program}: {}\n{}", read(&output), read(&self.log()));
    }

    fn command(&self, program: &str) -> Command {
        let programs = PathBuf::from(std::env::var_os(PROGRAMS).unwrap());
        let mut command = Command::new(programs.join(program));
        command.arg("--pgdata").arg(self.folder.path().join("data"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--wait", "--mode=immediate", "--silent"]);
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// A user of this machine who may do nothing, and its group.
fn unprivileged() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(|field| field.parse().ok());
        numbers.next().flatten().zip(numbers.next().flatten())
    };
    find("postgres").or_else(|| find("nobody")).unwrap()
}
