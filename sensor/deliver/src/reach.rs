//! Connections over TCP, plain and with TLS, of sinks that speak no HTTP.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A stream within TLS.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// Connects to the first place of an address, `HOST:PORT`, that takes it.
///
/// # Errors
/// Of the last place, where none does.
pub fn first<T>(
    address: &str,
    mut connect: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for place in address.to_socket_addrs()? {
        match connect(place) {
            Ok(link) => return Ok(link),
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// Connects over TCP; nothing on the stream takes longer than `limit`.
///
/// # Errors
/// When the far side does not take it in time.
pub fn tcp(place: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&place, limit)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

/// Secures a stream to an address, whose host the far side's certificate has to name.
///
/// # Errors
/// When the handshake fails.
pub fn secured(
    config: &Arc<ClientConfig>,
    address: &str,
    mut stream: TcpStream,
) -> io::Result<Secured> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::clone(config), name);
    let mut connection = connection.map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}
