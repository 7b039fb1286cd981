//! Connections over TCP, plain and with TLS, of sinks that speak no HTTP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::settings::{SinkSettings, Transport};
use crate::tls;

/// A stream within TLS.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A connection, plain or within TLS.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Way to an address, `HOST:PORT`.
#[derive(Clone)]
pub struct Way {
    address: String,
    limit: Duration,
    tls: Option<Arc<ClientConfig>>,
}

impl Way {
    /// # Errors
    /// When a key or certificate of TLS can't be read.
    pub fn new(settings: &SinkSettings) -> Result<Self, String> {
        let tls = match settings.transport {
            Transport::Tls => Some(tls::client_config(&settings.connection())?),
            Transport::Udp | Transport::Tcp => None,
        };
        Ok(Self {
            address: settings.address.clone().unwrap_or_default(),
            limit: settings.timeout(),
            tls,
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub const fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Way to another address, by the same means.
    pub fn to(&self, address: String) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// Connects to the first place of the address that takes it.
    ///
    /// # Errors
    /// Of the last place, where none does.
    pub fn first<T>(&self, mut connect: impl FnMut(SocketAddr) -> io::Result<T>) -> io::Result<T> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
        for place in self.address.to_socket_addrs()? {
            match connect(place) {
                Ok(link) => return Ok(link),
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    /// Connects over TCP; nothing on the stream takes longer than the limit of the sink.
    ///
    /// # Errors
    /// When the far side does not take it in time.
    pub fn tcp(&self) -> io::Result<TcpStream> {
        self.first(|place| {
            let stream = TcpStream::connect_timeout(&place, self.limit)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.limit))?;
            stream.set_write_timeout(Some(self.limit))?;
            Ok(stream)
        })
    }

    /// Secures a stream to the address, whose host the far side's certificate has to name.
    ///
    /// # Errors
    /// When the handshake fails, or the way is a plain one.
    pub fn secure(&self, mut stream: TcpStream) -> io::Result<Secured> {
        let config = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let address = &self.address;
        let host = address
            .rsplit_once(':')
            .map_or(&**address, |(host, _)| host);
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

    /// Secures a stream where that is wanted.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn over(&self, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        if self.is_secured() {
            return Ok(Box::new(self.secure(stream)?));
        }
        Ok(Box::new(stream))
    }
}
