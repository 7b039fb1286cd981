//! Programs that serve on the host that is attacked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sensor_tests::{Network, wait_until};

/// Says again what it hears, to each client in a thread of its own.
const ECHO: &str = "import socket, threading
def serve(there):
    while (heard := there.recv(65536)):
        there.sendall(heard)
listener = socket.create_server(('::', PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256)
while True:
    there, _ = listener.accept()
    threading.Thread(target=serve, args=(there,), daemon=True).start()
";

const NGINX: &str = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http { access_log off; client_body_temp_path FOLDER/b; proxy_temp_path FOLDER/p;
fastcgi_temp_path FOLDER/f; uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
server { listen 80; listen [::]:80; location / { return 200 'hello'; } } }
";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Service of the innocent client, on this port.
    Echo(u16),
    Web,
    Ssh,
}

impl Service {
    pub const fn program(self) -> &'static str {
        match self {
            Self::Echo(_) => "python3",
            Self::Web => "nginx",
            Self::Ssh => "dropbear",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Echo(port) => port,
            Self::Web => 80,
            Self::Ssh => 22,
        }
    }

    /// Starts it, and waits until it takes connections.
    pub fn start(self, network: &Network, folder: &Path) -> Result<sensor_tests::Background> {
        let line = self.line(folder)?;
        let service = network.start("server", &line)?;
        let probe = folder.join("probe.py");
        let text = format!(
            "import socket\nsocket.create_connection(('127.0.0.1', {}), timeout=1)\n",
            self.port()
        );
        std::fs::write(&probe, text)?;
        let line = format!("python3 {}", probe.display());
        let is_up = || network.run("server", &line).ok();
        wait_until(Duration::from_secs(20), is_up)
            .with_context(|| format!("{} does not come up", self.program()))?;
        Ok(service)
    }

    fn line(self, folder: &Path) -> Result<String> {
        let place = folder.display();
        Ok(match self {
            Self::Echo(port) => {
                let text = ECHO.replace("PORT", &port.to_string());
                std::fs::write(folder.join("echo.py"), text)?;
                format!("python3 {place}/echo.py")
            }
            Self::Web => {
                let config = NGINX.replace("FOLDER", &place.to_string());
                std::fs::write(folder.join("nginx.conf"), config)?;
                format!("nginx -c {place}/nginx.conf")
            }
            Self::Ssh => {
                let key = folder.join("hostkey");
                if !key.exists() {
                    let mut keygen = std::process::Command::new("dropbearkey");
                    sensor_tests::run(keygen.args(["-t", "ed25519", "-f"]).arg(&key))?;
                }
                format!("dropbear -F -E -r {} -p 22", key.display())
            }
        })
    }
}
