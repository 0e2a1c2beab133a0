"""Media types that schemathesis does not know."""
import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_, value):
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.deserializer("application/octet-stream")
def octets(_, response):
    return response.content.decode("latin-1")
