"""Calls the webhook as Twilio does, with Twilio's own helper library, and prints what came back as JSON.

    twilio_client.py LOCAL_URL PUBLIC_URL TOKEN

LOCAL_URL is where the server listens; PUBLIC_URL is what Twilio would have called, which is what it signs.
`same_twiml` says whether the answer is, element by element, what the library itself would write.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET

from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, VoiceResponse

local, public, token = sys.argv[1:]
form = {
    "AccountSid": "AC00000000000000000000000000000001",
    "CallSid": "CA00000000000000000000000000000001",
    "CallStatus": "ringing",
    "Direction": "inbound",
    "From": "+250788123456",
    "To": "1000",
}
signature = RequestValidator(token).compute_signature(public, form)

headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
request = urllib.request.Request(local, data=urllib.parse.urlencode(form).encode(), headers=headers)
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        status, kind, body = answer.status, answer.headers.get("Content-Type"), answer.read().decode()
except urllib.error.HTTPError as error:
    status, kind, body = error.code, error.headers.get("Content-Type"), error.read().decode()

result = {"status": status, "content_type": kind, "body": body, "stream_url": None, "same_twiml": None}
if status == 200:
    root = ET.fromstring(body)
    stream = root.find("./Connect/Stream")
    if stream is not None:
        expected = VoiceResponse()
        connect = Connect()
        written = connect.stream(**{name: value for name, value in stream.attrib.items()})
        for parameter in stream.findall("Parameter"):
            written.parameter(name=parameter.get("name"), value=parameter.get("value"))
        expected.append(connect)
        result["stream_url"] = stream.get("url")
        result["same_twiml"] = ET.canonicalize(body) == ET.canonicalize(str(expected))
print(json.dumps(result))
