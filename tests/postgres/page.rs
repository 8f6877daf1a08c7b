//! What docs/postgresql.md says in SQL, said to a server.

use libtest_mimic::Trial;

use crate::server::{Server, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("page::every_statement_on_it_can_be_run", statements)]
}

async fn statements(server: Server) {
    let _store = server.store().await;
    let client = server.client().await;
    let page = include_str!("../../docs/postgresql.md");
    let blocks: Vec<&str> = page
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 10);
    let role = format!("{}_shop", server.schema);
    for block in blocks {
        let block = block
            .replace("ringback.", &format!("\"{}\".", server.schema))
            .replace("'ringback'", &format!("'{}'", server.schema))
            .replace("SCHEMA ringback ", &format!("SCHEMA \"{}\" ", server.schema))
            .replace("shop", &role);
        if let Err(error) = client.batch_execute(&block).await {
            panic!("{error:?}\n{block}");
        }
    }
    let drop = format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"");
    client.batch_execute(&drop).await.unwrap();
}
