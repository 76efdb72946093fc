"""The TLS side of a connection: whom we trust, who we are."""

from __future__ import annotations

import ssl
from typing import Any

from alprd.publish.brokers import Broker, BrokerError


class TlsContext(ssl.SSLContext):
    """Remembers the socket that it wrapped: paho forgets to close it when the handshake fails."""

    _last: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # noqa: ANN401 - as its base
        """As the base class does."""
        self._last = super().wrap_socket(*args, **kwargs)
        return self._last

    def close_last(self) -> None:
        """Close the socket of a handshake that failed."""
        if self._last is not None:
            self._last.close()


def tls_context(broker: Broker) -> TlsContext:
    """Certificates are always checked, server names unless told otherwise. Raises BrokerError."""
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = broker.check_server_name
    try:
        if broker.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(broker.ca_file)
    except OSError as error:  # an SSLError is one, too
        raise BrokerError(
            f"{broker}: mqtt.ca_file {broker.ca_file} cannot be used ({error});"
            " it must be a readable PEM file with the authority's certificate"
        ) from error
    if broker.cert_file is not None:
        try:
            # An empty passphrase: without one OpenSSL would ask on the terminal.
            context.load_cert_chain(broker.cert_file, broker.key_file, password="")
        except (OSError, ValueError) as error:
            raise BrokerError(
                f"{broker}: mqtt.cert_file {broker.cert_file} with mqtt.key_file {broker.key_file}"
                f" cannot be used ({error}); they must be a certificate and its own private key,"
                " PEM, without a passphrase"
            ) from error
    if broker.alpn:
        context.set_alpn_protocols(list(broker.alpn))
    return context
