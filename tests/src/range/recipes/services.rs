//! Programs that serve.

use super::super::recipe::{Program, Ready};

/// Logs each attempt; takes the scenario's key, and the password of `ops`.
pub static SSHD: Program = Program {
    name: "sshd",
    packages: &["openssh-server", "openssh-client"],
    start: "ssh_key
        mkdir -p /run/sshd
        chown -R ops: $HOME
        ssh-keygen -q -t ed25519 -N '' -f $DATA/hostkey
        cat >$DATA/sshd_config <<END
HostKey $DATA/hostkey
UsePAM no
StrictModes no
AuthorizedKeysFile $SCRATCH/key.pub
PasswordAuthentication yes
KbdInteractiveAuthentication no
MaxStartups 200:30:400
PidFile none
LogLevel VERBOSE
Subsystem sftp internal-sftp
END
        exec /usr/sbin/sshd -D -e -f $DATA/sshd_config",
    ready: Ready::Tcp(22),
};

/// SSH of small devices.
pub static DROPBEAR: Program = Program {
    name: "dropbear",
    packages: &["dropbear-bin", "openssh-client"],
    start: "ssh_key
        mkdir -p $HOME/.ssh
        cp $SCRATCH/key.pub $HOME/.ssh/authorized_keys
        chown -R ops: $HOME
        chmod 755 $HOME
        chmod 700 $HOME/.ssh
        for kind in rsa ecdsa ed25519; do dropbearkey -t $kind -f $DATA/$kind >/dev/null; done
        exec dropbear -F -E -r $DATA/rsa -r $DATA/ecdsa -r $DATA/ed25519 -p 22",
    ready: Ready::Tcp(22),
};

/// HTTP/1.0, a connection for each request.
pub static PYTHON_HTTP: Program = Program {
    name: "python-http",
    packages: &["python3"],
    start: "pages $DATA/www
        exec python3 -m http.server --bind :: --directory $DATA/www 80",
    ready: Ready::Tcp(80),
};

/// A web page that asks for a password in a form, and answers 200 whatever it is.
pub static LOGIN_FORM: Program = Program {
    name: "login-form",
    packages: &["python3"],
    start: "exec python3 -u $SCRATCH/login_form.py",
    ready: Ready::Tcp(80),
};

/// HTTP and HTTPS, a site of pages, an API, and a part that asks for a password.
pub static NGINX: Program = Program {
    name: "nginx",
    packages: &["nginx-light", "openssl"],
    start: "pages $DATA/www
        certificate $DATA
        echo \"ops:{PLAIN}$PASSWORD\" >$DATA/passwords
        mkdir -p $DATA/tmp
        cat >$DATA/nginx.conf <<END
user root;
worker_processes 1;
pid $DATA/nginx.pid;
error_log stderr;
events { worker_connections 2000; }
http {
    access_log /dev/stdout;
    default_type text/html;
    client_body_temp_path $DATA/tmp/a;
    proxy_temp_path $DATA/tmp/b;
    fastcgi_temp_path $DATA/tmp/c;
    uwsgi_temp_path $DATA/tmp/d;
    scgi_temp_path $DATA/tmp/e;
    keepalive_timeout ${KEEP_ALIVE:-65};
    server {
        listen 80 backlog=1024;
        listen [::]:80 backlog=1024;
        listen 443 ssl;
        listen [::]:443 ssl;
        ssl_certificate $DATA/tls.crt;
        ssl_certificate_key $DATA/tls.key;
        root $DATA/www;
        client_max_body_size 100m;
        location /private/ { auth_basic private; auth_basic_user_file $DATA/passwords; }
        location /upload/ { dav_methods PUT; create_full_put_path on; }
    }
}
END
        exec nginx -c $DATA/nginx.conf -p $DATA -e stderr -g 'daemon off;'",
    ready: Ready::Tcp(80),
};

/// FTP with local accounts.
pub static VSFTPD: Program = Program {
    name: "vsftpd",
    packages: &["vsftpd"],
    start: "chown -R ops: $HOME
        mkdir -p /run/vsftpd/empty
        cat >$DATA/vsftpd.conf <<END
listen=NO
listen_ipv6=YES
background=NO
local_enable=YES
anonymous_enable=NO
write_enable=YES
secure_chroot_dir=/run/vsftpd/empty
pam_service_name=vsftpd
xferlog_enable=YES
log_ftp_protocol=YES
syslog_enable=NO
vsftpd_log_file=$DATA/vsftpd.log
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
END
        touch $DATA/vsftpd.log
        tail -f $DATA/vsftpd.log &
        exec vsftpd $DATA/vsftpd.conf",
    ready: Ready::Tcp(21),
};
