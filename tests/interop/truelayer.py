"""TrueLayer's `Tl-Signature`, with TrueLayer's own Python library."""

import base64
import itertools
import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from truelayer_signing import (
    HttpMethod,
    extract_jws_header,
    sign_with_pem,
    verify_with_jwks,
    verify_with_pem,
)
from truelayer_signing.errors import TlSigningException

BODIES = {
    "empty": "",
    "JSON": '{"event_id":"18b2","amount":1.0000000000}',
    "unicode": '{"name":"日本語 🔔 \u2028"}',
    "line feeds": "POST /elsewhere\nX-Header: 1\n{}\r\n",
    "a megabyte": "x" * 1_000_000,
}
PATHS = ["/hook", "/a/b%20c", "/hooks/truelayer/v3"]
HEADERS = {
    "none": {},
    "one": {"Idempotency-Key": "619410b3-b00c-406e-bb1b-2982f97edb8b"},
    "a webhook's": {"X-TL-Webhook-Timestamp": "2021-11-29T11:42:55Z", "Content-Type": "application/json"},
    "odd ones": {"x-UPPER-lower": "a, b: c", "Empty": "", "Accept": "  */*"},
}
JKU = "https://webhooks.truelayer.com/.well-known/jwks"
AT = 1638186175  # the date in HEADERS


class KeyPair:
    def __init__(self, kid):
        key = ec.generate_private_key(ec.SECP521R1())
        self.kid = kid
        self.private_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()
        self.private_pkcs8 = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.public_pem = (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
        numbers = key.public_key().public_numbers()
        self.jwk = dict(
            kty="EC", alg="ES512", use="sig", crv="P-521", kid=kid, x=coordinate(numbers.x), y=coordinate(numbers.y)
        )

    def jwks(self, *others):
        return {"keys": [other.jwk for other in others] + [self.jwk]}


def coordinate(number):
    """Without leading zeros, as TrueLayer publishes them: often shorter than the curve says."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def message(path, headers, body, method="POST"):
    encoded = base64.b64encode(body.encode()).decode()
    return dict(method=method, target=path, headers=headers, body=encoded, now=AT)


def run(ours, tally):
    for number, (path, headers, body) in enumerate(itertools.product(PATHS, HEADERS, BODIES)):
        name = f"{path}, headers: {headers}, {body}"
        key, other = KeyPair(f"key-{number}"), KeyPair("other")
        they_verify_us(ours, tally, name, key, other, path, HEADERS[headers], BODIES[body])
        we_verify_them(ours, tally, name, key, other, path, HEADERS[headers], BODIES[body])


def they_verify_us(ours, tally, name, key, other, path, headers, body):
    for pem, jku in ((key.private_pem, None), (key.private_pkcs8, JKU)):
        command = dict(kid=key.kid, pem=pem, covering=list(headers), jku=jku, message=message(path, headers, body))
        signature = ours.ask(do="tl_sign", **command)["headers"]["tl-signature"]
        header = extract_jws_header(signature)
        tally.check(f"{name}: they read the header", lambda: (header.kid, header.jku) == (key.kid, jku))

        def verifies(verifier, path=path, headers=headers, body=body, method=HttpMethod.POST):
            verifier.set_method(method).set_path(path).add_headers(headers).set_body(body)
            try:
                verifier.verify(signature)
                return True
            except TlSigningException:
                return False

        right = lambda: verify_with_pem(key.public_pem)
        tally.check(f"{name}: they verify", lambda: verifies(right()))
        tally.check(f"{name}: they verify by JWKS", lambda: verifies(verify_with_jwks(key.jwks(other), header)))
        tally.check(f"{name}: they take a slash more", lambda: verifies(right(), path=path + "/"))
        tally.check(f"{name}: they refuse another key", lambda: not verifies(verify_with_pem(other.public_pem)))
        tally.check(f"{name}: they refuse another body", lambda: not verifies(right(), body=body + " "))
        tally.check(f"{name}: they refuse another path", lambda: not verifies(right(), path=path + "x"))
        tally.check(f"{name}: they refuse another method", lambda: not verifies(right(), method=HttpMethod.PUT))
        for changed in headers:
            forged = {**headers, changed: "forged"}
            tally.check(f"{name}: they refuse another {changed}", lambda: not verifies(right(), headers=forged))


def we_verify_them(ours, tally, name, key, other, path, headers, body):
    signer = sign_with_pem(key.kid, key.private_pem).set_method(HttpMethod.POST).set_path(path)
    signature = signer.add_headers(headers).set_body(body).set_jku(JKU).sign()

    def verdict(keys=None, requiring=tuple(headers), path=path, headers=headers, body=body, method="POST"):
        keys = keys or {"jwks": json.dumps(key.jwks(other))}
        sent = message(path, {**headers, "Tl-Signature": signature}, body, method)
        answer = ours.ask(do="tl_verify", keys=keys, requiring=requiring, message=sent)
        return answer if isinstance(answer, str) else answer["refused"].split(":")[0]

    tally.check(f"{name}: we verify by JWKS", lambda: verdict() == "verified")
    pem = {"pem": [key.kid, key.public_pem]}
    tally.check(f"{name}: we verify", lambda: verdict(keys=pem) == "verified")
    tally.check(f"{name}: we take a slash more", lambda: verdict(path=path + "/") == "verified")
    tally.check(f"{name}: we take any query", lambda: verdict(path=path + "?a=b") == "verified")
    unknown = {"jwks": json.dumps(other.jwks())}
    tally.check(f"{name}: we do not know another key", lambda: verdict(keys=unknown) == "unknown key")
    namesake = {"pem": [key.kid, other.public_pem]}
    tally.check(f"{name}: we refuse another key", lambda: verdict(keys=namesake) == "mismatch")
    tally.check(f"{name}: we refuse another body", lambda: verdict(body=body + " ") == "mismatch")
    tally.check(f"{name}: we refuse another path", lambda: verdict(path=path + "x") == "mismatch")
    tally.check(f"{name}: we refuse another method", lambda: verdict(method="PUT") == "mismatch")
    for changed in headers:
        forged = {**headers, changed: "forged"}
        tally.check(f"{name}: we refuse another {changed}", lambda: verdict(headers=forged) == "mismatch")
    more = [*headers, "X-Unsigned"]
    tally.check(f"{name}: we demand what it does not sign", lambda: verdict(requiring=more) not in ("verified", "mismatch"))
