//! One scenario: a plant in which everything works, what goes differently in it, and what a report has to say of that.

use std::path::Path;

use serde_json::Value;
use spanaudit::rules;

use super::super::common;
use super::bytes;
use super::bytes::Messages;
use super::bytes::TLS13;
use super::plant::Machine;
use super::plant::Plant;
use super::plant::S;
use super::talk;
use super::talk::End::Client;
use super::talk::Talk;
use super::wire;

/// What may be said of a requirement: `verdict`, `verdict mechanism` or `verdict mechanism grade`, and several of them where the evidence leaves room.
#[derive(Clone, Debug)]
struct Expected {
    source: String,
    target: String,
    service: String,
    said: Vec<&'static str>,
}

/// A scenario.
pub struct Scene {
    pub plant: Plant,
    pub sensor: Machine,
    pub site: Machine,
    pub manager: Machine,
    pub user: Machine,
    pub directory: Machine,
    pub dns: Machine,
    /// Roles and their bindings, as TOML.
    pub roles: Vec<(&'static str, String)>,
    pub features: Vec<&'static str>,
    /// More of the site file.
    pub entries: String,
    /// The site's scope; all of the plant where nothing is said.
    pub scope: Option<Vec<&'static str>>,
    pub ruleset: &'static str,
    expected: Vec<Expected>,
    unexpected: Vec<(String, String, String)>,
    /// The port of the sensor's or a user's flow that the scenario plays itself.
    own: Vec<u16>,
}

impl Scene {
    /// OPSWAT's plant: a sensor, its managers, a user and a directory; the flows on `own` ports are left to the scenario.
    pub fn opswat(v6: bool, own: &[u16]) -> Self {
        let mut scene = Self::bare(v6, "opswat-md-ot-security", own);
        scene.features = vec!["unidirectional", "ldaps"];
        for (role, machine) in [
            ("network-sensor", scene.sensor),
            ("site-manager", scene.site),
            ("enterprise-manager", scene.manager),
            ("user", scene.user),
            ("ldap-server", scene.directory),
        ] {
            scene.roles.push((role, format!("[\"{}\"]", machine.ip)));
        }
        let (sensor, site, manager, user, directory) =
            (scene.sensor, scene.site, scene.manager, scene.user, scene.directory);
        for at in [2, 75, 139] {
            scene.works((sensor, site, 3006), at, &bytes::tls("site.plant.example", TLS13));
            scene.works((sensor, site, 5672), at, &bytes::amqp());
            scene.works((site, manager, 3003), at, &bytes::tls("em.plant.example", TLS13));
            scene.works((site, manager, 5673), at, &bytes::amqp());
            scene.works((user, manager, 443), at, &bytes::tls("em.plant.example", TLS13));
            scene.works((sensor, directory, 636), at, &bytes::tls("dc1.plant.example", TLS13));
        }
        scene
    }

    /// Defender's plant: a sensor and the services that it uses.
    pub fn defender(v6: bool, own: &[u16]) -> Self {
        let mut scene = Self::bare(v6, "microsoft-defender-for-iot", own);
        scene.features = vec!["ntp", "snmp", "syslog", "smtp", "dns"];
        let services = ["ntp-server", "snmp-server", "syslog-server", "smtp-server", "dns-server"];
        scene.roles.push(("ot-sensor", format!("[\"{}\"]", scene.sensor.ip)));
        scene.roles.push(("client", format!("[\"{}\"]", scene.user.ip)));
        for role in services {
            scene.roles.push((role, format!("[\"{}\"]", scene.dns.ip)));
        }
        let (user, sensor) = (scene.user, scene.sensor);
        for at in [2, 75, 139] {
            scene.works((user, sensor, 443), at, &bytes::tls("sensor.plant.example", TLS13));
            scene.works((user, sensor, 22), at, &bytes::ssh());
            scene.lookup(at * S, sensor, "time.plant.example", Some(0), true, None);
        }
        scene
    }

    fn bare(v6: bool, ruleset: &'static str, own: &[u16]) -> Self {
        let mut plant = Plant::new(v6);
        let [sensor, site, manager, user, directory, dns] =
            [(10, 11), (20, 12), (30, 13), (40, 33), (50, 51), (50, 53)]
                .map(|(segment, host)| plant.machine(segment, host));
        Self {
            plant,
            sensor,
            site,
            manager,
            user,
            directory,
            dns,
            roles: Vec::new(),
            features: Vec::new(),
            entries: String::new(),
            scope: None,
            ruleset,
            expected: Vec::new(),
            unexpected: Vec::new(),
            own: own.to_vec(),
        }
    }

    fn works(&mut self, (client, server, port): (Machine, Machine, u16), at: u64, messages: &Messages) {
        if !self.own.contains(&port) {
            self.fine(client, server, port, at, messages);
        }
    }

    /// A session that opens, works and is closed by the client.
    pub fn fine(&mut self, client: Machine, server: Machine, port: u16, at: u64, messages: &Messages) {
        self.talk(client, server, port, at).opens().exchange(messages).closes(Client);
    }

    /// A connection at a second of the plant's time.
    pub fn talk(&mut self, client: Machine, server: Machine, port: u16, at: u64) -> Talk<'_> {
        Talk::new(&mut self.plant, client, server, port, at * S + u64::from(port))
    }

    /// A machine on the internet.
    pub fn outside(&mut self, host: u8) -> Machine {
        let last = u16::from(host);
        let ip = if self.plant.v6 {
            std::net::IpAddr::from([0x2a02, 0x26f0, last, 0, 0, 0, 0, last])
        } else {
            std::net::IpAddr::from([23, 45, host, host])
        };
        self.plant.machine_at(99, [0x52, 0x54, 0, 99, 0, host], ip)
    }

    /// A lookup: its response code (none where no answer comes), and whether it gives the address of `host`.
    pub fn lookup(
        &mut self,
        at: u64,
        client: Machine,
        name: &str,
        code: Option<u16>,
        found: bool,
        host: Option<Machine>,
    ) {
        let kind = if self.plant.v6 { 28 } else { 1 };
        let id = self.plant.any() as u16;
        let ports = (33_000 + (self.plant.any() % 20_000) as u16, 53);
        let server = self.dns;
        let fate = if code.is_some() { super::plant::Fate::Passes } else { super::plant::Fate::Dies };
        talk::datagram(&mut self.plant, at, (client, server), ports, &bytes::question(id, name, kind), fate);
        let Some(code) = code else { return };
        let addresses = if found { vec![host.unwrap_or(server).ip] } else { Vec::new() };
        let answer = bytes::answer(id, name, kind, code, &addresses, None);
        let back = (ports.1, ports.0);
        talk::datagram(
            &mut self.plant,
            at + 1_200,
            (server, client),
            back,
            &answer,
            super::plant::Fate::Passes,
        );
    }

    /// A lookup that is answered with the address of `host`, and an extended error (RFC 8914) that says what that is worth.
    pub fn lookup_called(&mut self, at: u64, client: Machine, name: &str, host: Machine, error: u16) {
        let kind = if self.plant.v6 { 28 } else { 1 };
        let id = self.plant.any() as u16;
        let ports = (33_000 + (self.plant.any() % 20_000) as u16, 53);
        let (server, passes) = (self.dns, super::plant::Fate::Passes);
        talk::datagram(
            &mut self.plant,
            at,
            (client, server),
            ports,
            &bytes::question(id, name, kind),
            passes,
        );
        let answer = bytes::answer(id, name, kind, 0, &[host.ip], Some(error));
        talk::datagram(&mut self.plant, at + 1_200, (server, client), (ports.1, ports.0), &answer, passes);
    }

    /// What has to be said of a TCP requirement.
    pub fn expect(&mut self, source: Machine, target: Machine, port: u16, said: &[&'static str]) {
        self.expect_named(source, &target.ip.to_string(), &format!("tcp/{port}"), said);
    }

    /// The same for any service, and for a target by its label.
    pub fn expect_named(&mut self, source: Machine, target: &str, service: &str, said: &[&'static str]) {
        self.expected.push(Expected {
            source: source.ip.to_string(),
            target: target.to_owned(),
            service: service.to_owned(),
            said: said.to_vec(),
        });
    }

    /// A conversation that has to be told as unexpected.
    pub fn unexpected(&mut self, client: Machine, server: Machine, service: &str) {
        self.unexpected.push((client.ip.to_string(), server.ip.to_string(), service.to_owned()));
    }

    /// Nothing is in trouble, whatever was expected of the whole recording.
    pub fn forget_expectations(&mut self) {
        self.expected.clear();
    }

    fn site_file(&self) -> String {
        let all = if self.plant.v6 { "fd42:7::/32" } else { "172.21.0.0/16" };
        let scope = self.scope.clone().unwrap_or_else(|| vec![all]);
        let roles: Vec<String> =
            self.roles.iter().map(|(role, bound)| format!("{role} = {bound}\n")).collect();
        format!(
            "[site]\nname = \"plant\"\nrulesets = [\"{}\"]\nfeatures = {:?}\nscope = {scope:?}\n\n[roles]\n{}\n{}",
            self.ruleset,
            self.features,
            roles.concat(),
            self.entries
        )
    }

    /// Binds a role anew.
    pub fn bind(&mut self, role: &'static str, bound: String) {
        self.roles.retain(|(known, _)| *known != role);
        self.roles.push((role, bound));
    }

    /// Audits the recording and tells each difference between the report and what is expected.
    pub fn differences(&mut self) -> Vec<String> {
        self.plant.greet();
        let report: Value = serde_json::from_str(&self.report()).unwrap();
        let mut wrong = self.requirements(&report);
        wrong.extend(self.conversations(&report));
        wrong
    }

    /// The report on the recording, as JSON.
    pub fn report(&self) -> String {
        let site = rules::parse_site("plant.toml", &self.site_file(), Path::new("."), &common::protocols())
            .unwrap_or_else(|error| panic!("{}", error.render(false, 100)));
        let file = wire::pcap(&self.plant.recording(), self.plant.snap);
        let observed = common::observe_bytes(file, 2, "plant.pcap").unwrap();
        common::tell(&common::audit(&observed, &site), "json")
    }

    fn requirements(&self, report: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let told: Vec<Told> = report["requirements"].as_array().unwrap().iter().map(Told::of).collect();
        for want in &self.expected {
            let of_it = |told: &&Told| told.is(want);
            let mut found = told.iter().filter(of_it).peekable();
            if found.peek().is_none() {
                wrong.push(format!("no requirement {} > {} {}", want.source, want.target, want.service));
            } else if !found.clone().any(|told| want.said.iter().any(|said| told.says(said))) {
                wrong.push(format!(
                    "want {:?}: {}",
                    want.said,
                    found.map(Told::line).collect::<Vec<_>>().join("; ")
                ));
            }
        }
        // What no line speaks of works, or was not tried.
        for told in told.iter().filter(|told| !self.expected.iter().any(|want| told.is(want))) {
            if ["blocked", "failed", "violated"].contains(&told.verdict.as_str()) {
                wrong.push(format!("nothing is wrong with {}", told.line()));
            }
        }
        wrong
    }

    fn conversations(&self, report: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let told: Vec<(String, String, String, &Value)> = report["conversations"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| ["unexpected", "forbidden"].contains(&one["verdict"].as_str().unwrap()))
            .map(|one| {
                let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
                (word("client"), word("server"), format!("{}/{}", word("transport"), one["port"]), one)
            })
            .collect();
        for (client, server, service) in &self.unexpected {
            if !told.iter().any(|(a, b, c, _)| (a, b, c) == (client, server, service)) {
                wrong.push(format!("not told as unexpected: {client} > {server} {service}"));
            }
        }
        for (client, server, service, one) in &told {
            if !self.unexpected.iter().any(|(a, b, c)| (a, b, c) == (client, server, service)) {
                wrong.push(format!("told as unexpected: {client} > {server} {service}: {}", one["reason"]));
            }
        }
        wrong
    }
}

/// A requirement as a report tells it.
struct Told {
    source: String,
    target: String,
    service: String,
    verdict: String,
    mechanism: String,
    grade: String,
    reason: String,
}

impl Told {
    fn of(one: &Value) -> Self {
        let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        Self {
            source: word("source"),
            target: word("target"),
            service: format!("{}/{}", word("transport"), word("ports")),
            verdict: word("verdict"),
            mechanism: word("mechanism"),
            grade: word("grade"),
            reason: word("reason"),
        }
    }

    fn is(&self, want: &Expected) -> bool {
        self.source == want.source && self.target == want.target && self.service == want.service
    }

    fn says(&self, said: &str) -> bool {
        let mut words = said.split(' ');
        let mut is = |told: &str| words.next().is_none_or(|word| word == told);
        is(&self.verdict) && is(&self.mechanism) && is(&self.grade)
    }

    fn line(&self) -> String {
        let Self { source, target, service, verdict, mechanism, grade, reason } = self;
        format!("{source} > {target} {service} is told as {verdict} {mechanism} {grade}: {reason}")
    }
}
