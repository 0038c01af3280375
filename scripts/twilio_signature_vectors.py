#!/usr/bin/env python3
"""Writes fixtures/twilio/signature.json with the verdicts of Twilio's own library.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install twilio==9.13.0
    /tmp/venv/bin/python scripts/twilio_signature_vectors.py > fixtures/twilio/signature.json
"""

import hashlib
import json
import sys

from twilio.request_validator import RequestValidator, get_signature_algorithm

TOKEN = "12345"
CALL = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
SHA256 = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"


class Pairs(dict):
    """A form in which a name may come more than once."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.pairs = pairs

    def getall(self, name):
        return [value for known, value in self.pairs if known == name]


def vector(name, url, parameters=None, body=None, settings=None, signed_url=None, signed=None, token=TOKEN):
    """`signed_url` and `signed` are what Twilio signed where the receiver sees something else."""
    algorithm = get_signature_algorithm(settings)
    own = Pairs(parameters) if parameters is not None else {}
    was = own if signed is None else Pairs(signed)
    signature = RequestValidator(TOKEN).compute_signature(signed_url or url, was, algorithm)
    seen = body if body is not None else own
    valid = RequestValidator(token).validate(url, seen, signature, algorithm)
    return {
        "name": name,
        "token": token,
        "url": url,
        "parameters": parameters,
        "body": body,
        "settings": settings,
        "signature": signature,
        "valid": valid,
    }


def hashed(body):
    return "https://voice.example.org/hook?bodySHA256=" + hashlib.sha256(body.encode()).hexdigest()


def vectors():
    body = '{"property": "value", "boolean": true}'
    yield vector("webhook with parameters and query", URL, CALL)
    yield vector("parameters in another order", URL, CALL[::-1], signed=CALL)
    yield vector("no parameters", URL, [])
    yield vector("GET", "https://voice.example.org/webhook/call?From=%2B1&To=%2B2")
    yield vector("stream upgrade", "wss://voice.example.org/webhook/media-stream")
    yield vector("stream upgrade on a port", "wss://voice.example.org:8443/webhook/media-stream")
    yield vector("port seen, not signed", "https://mycompany.com:8443/a", CALL, signed_url="https://mycompany.com/a")
    yield vector("default port signed, not seen", "https://mycompany.com/a", CALL, signed_url="https://mycompany.com:443/a")
    yield vector("plain http, default port signed", "http://mycompany.com/a", CALL, signed_url="http://mycompany.com:80/a")
    yield vector("stream, port seen, not signed", "wss://a.example:443/s", signed_url="wss://a.example/s")
    yield vector("accents and empty values", "https://a.example/", [("Name", "Amélie Ürün 李"), ("Empty", ""), ("é", "x")])
    yield vector("names sorted by code point", "https://a.example/", [("b", "1"), ("B", "2"), ("a_", "3"), ("aB", "4"), ("a", "5")])
    yield vector("a name twice", "https://a.example/", [("Media", "b"), ("Media", "a")])
    yield vector("a name twice with the same value", "https://a.example/", [("Media", "a"), ("Media", "a")])
    yield vector("JSON body", hashed(body), body=body)
    yield vector("empty JSON body", hashed(""), body="")
    yield vector("shared key with SHA-256", URL, CALL, settings=SHA256)
    yield vector("SHA-1 named", URL, CALL, settings="algorithm=HMAC_SHA1")
    yield vector("path and query only in the URL", "https://a.example/x%20y?q=%2F+z")

    yield vector("other token", URL, CALL, token="54321")
    yield vector("changed value", URL, CALL[:-1] + [("To", "+18005551213")], signed=CALL)
    yield vector("added parameter", URL, CALL + [("Z", "1")], signed=CALL)
    yield vector("left out parameter", URL, CALL[:-1], signed=CALL)
    yield vector("other path", "https://mycompany.com/b", CALL, signed_url="https://mycompany.com/a")
    yield vector("other host", "https://evil.example/a", CALL, signed_url="https://mycompany.com/a")
    yield vector("http for https", "http://mycompany.com/a", CALL, signed_url="https://mycompany.com/a")
    yield vector("other port signed", "https://mycompany.com/a", CALL, signed_url="https://mycompany.com:8443/a")
    yield vector("changed JSON body", hashed(body), body=body + " ")
    yield vector("stream signed for another path", "wss://a.example/s", signed_url="wss://a.example/t")


json.dump(list(vectors()), sys.stdout, indent=1, ensure_ascii=False)
sys.stdout.write("\n")
