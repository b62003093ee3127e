"""The servers of the plant: nginx, OpenSSH, RabbitMQ, chrony and rsyslog, each with a configuration of its own in the lab's folder."""

import itertools
import pathlib
import shutil
import sys

from plant import run

# What nginx serves where: port and TLS versions.
WEB = {
    "sensor": {443: "TLSv1.3", 1443: "TLSv1.3"},
    "site": {443: "TLSv1.3", 3006: "TLSv1.2 TLSv1.3"},
    "enterprise": {443: "TLSv1.3", 3003: "TLSv1.2 TLSv1.3", 5673: "TLSv1.3"},
}
USER, PASSWORD = "guest", "guest"
AMQP_CLIENT = pathlib.Path(__file__).with_name("amqp.py")
CLIENTS = itertools.count()


def prepare(folder):
    """Keys and the certificate that all of them share; copies of programs that AppArmor would keep, by their path, to the system's folders."""
    for program in ("chronyd", "rsyslogd", "tcpdump"):
        shutil.copy(shutil.which(program), folder / program)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=lab.example", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    for name in ("host_key", "user_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))


def web(plant, host, ports=None):
    """nginx on a host."""
    folder = plant.folder
    listeners = "\n".join(
        f"  server {{ listen {port} ssl; listen [::]:{port} ssl; ssl_protocols {versions}; location / {{ return 200 'the lab'; }} }}"
        for port, versions in (ports or WEB[host]).items())
    temporary = "".join(f" {kind}_temp_path {folder}/{host}-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    file = folder / f"nginx-{host}.conf"
    file.write_text(f"""daemon off; master_process off; worker_processes 1; user root;
pid {folder}/nginx-{host}.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{ access_log off;{temporary}
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
{listeners}
}}
""")
    plant.start(f"nginx-{host}", host, "nginx", "-c", str(file))
    plant.wait_for(host, max(ports or WEB[host]))


def ssh(plant, host, port=22):
    """OpenSSH on a host; whoever signs in may do nothing."""
    # Debian's sshd wants this folder, which its service unit makes.
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    file = plant.folder / f"sshd-{host}-{port}.conf"
    file.write_text(f"""Port {port}
HostKey {plant.folder}/host_key
AuthorizedKeysFile {plant.folder}/user_key.pub
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
PidFile none
ForceCommand /bin/true
""")
    plant.start(f"sshd-{host}-{port}", host, "/usr/sbin/sshd", "-D", "-e", "-f", str(file))
    plant.wait_for(host, port)


def broker(plant, host):
    """RabbitMQ on a host, which takes some seconds to start."""
    folder = plant.folder / "rabbitmq"
    folder.mkdir()
    (folder / "rabbitmq.conf").write_text("listeners.tcp.1 = :::5672\nloopback_users = none\n")
    (folder / "enabled_plugins").write_text("[].\n")
    # Erlang's port mapper would otherwise outlive the broker.
    plant.start("epmd", host, "epmd", "-address", "127.0.0.1")
    plant.wait_for(host, 4369)
    plant.start(
        "rabbitmq", host, "/usr/lib/rabbitmq/bin/rabbitmq-server", HOME=str(folder), RABBITMQ_NODENAME="lab@localhost",
        RABBITMQ_MNESIA_BASE=str(folder / "db"), RABBITMQ_LOG_BASE=str(folder / "log"),
        RABBITMQ_CONFIG_FILE=str(folder / "rabbitmq"), RABBITMQ_ENABLED_PLUGINS_FILE=str(folder / "enabled_plugins"),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1")


def time_and_log(plant, host):
    """chrony and rsyslog on a host."""
    chrony = plant.folder / "chrony.conf"
    chrony.write_text(f"local stratum 3\nallow all\ncmdport 0\nbindcmdaddress /\npidfile {plant.folder}/chronyd.pid\nuser root\n")
    plant.start("chronyd", host, str(plant.folder / "chronyd"), "-d", "-x", "-f", str(chrony))
    syslog = plant.folder / "rsyslog.conf"
    syslog.write_text(f'module(load="imudp")\ninput(type="imudp" port="514")\n*.* {plant.folder}/messages\n')
    plant.start("rsyslogd", host, str(plant.folder / "rsyslogd"), "-n", "-f", str(syslog), "-i", str(plant.folder / "rsyslogd.pid"))
    plant.wait_for(host, 123)
    plant.wait_for(host, 514)


def all_of_them(plant):
    broker(plant, "site")
    for host in WEB:
        web(plant, host)
        ssh(plant, host)
    time_and_log(plant, "services")
    plant.wait_for("site", 5672)


# What clients run, each given the address of its server, the lab's folder and the seconds after which it gives up.

def https(port):
    def command(to, _, seconds):
        host = f"[{to}]" if ":" in to else to
        return ["curl", "-sk", "-o", "/dev/null", "--connect-timeout", str(seconds), "-m", str(seconds), f"https://{host}:{port}/"]
    return command


def secure_shell(port=22):
    def command(to, folder, seconds):
        return ["ssh", "-F", "none", "-p", str(port), "-i", str(folder / "user_key"), "-o", "BatchMode=yes",
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", f"ConnectTimeout={seconds}",
                f"root@{to}", "true"]
    return command


def queue(port, password=PASSWORD):
    def command(to, _, seconds):
        return [sys.executable, str(AMQP_CLIENT), to, str(port), USER, password, str(seconds)]
    return command


def clock(to, folder, seconds):
    return [str(folder / "chronyd"), "-Q", "-t", str(seconds), "-f", "/dev/null", "-u", "root", f"server {to} iburst", "cmdport 0",
            "bindcmdaddress /", f"pidfile {folder}/client-{next(CLIENTS)}.pid"]


def log(to, _, __):
    return ["logger", "-d", "-n", to, "-P", "514", "--rfc3164", "-t", "lab", "a line of the lab"]


