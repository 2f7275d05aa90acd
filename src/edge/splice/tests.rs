use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{
    edge::line::Lines,
    model::Reason,
    plan::routes::{Document, Marker},
    runtime::fake::Fake,
};

const SECOND: Duration = Duration::from_secs(1);
const HOLD: Duration = Duration::from_millis(1_500);

/// The ports under test, and what they say.
struct Rig {
    asked: watch::Sender<Asked>,
    serving: watch::Receiver<Option<Serving>>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

fn rig(limits: Limits) -> Rig {
    let (asked, receiver) = watch::channel(Asked::default());
    let (sender, serving) = watch::channel(None);
    let stop = CancellationToken::new();
    let splices = Splices { runtime: Arc::new(Fake::new()), limits, asked: receiver, serving: sender };
    let running = tokio::spawn(splices.run(stop.clone()));
    Rig { asked, serving, stop, running }
}

impl Rig {
    fn want(&self, pairs: &[(SocketAddr, SocketAddr)]) {
        let ports = pairs.iter().map(|(at, to)| (*at, Some(*to))).collect();
        self.asked.send_replace(Asked { ports, ..Asked::default() });
    }
    /// Open, and Traefik has no routes.
    fn wait_at(&self, at: SocketAddr) {
        self.asked.send_replace(Asked { ports: [(at, None)].into(), ..Asked::default() });
    }
    async fn says(&mut self, status: ConditionStatus) -> Serving {
        let wanted = self.serving.wait_for(|s| s.as_ref().is_some_and(|s| s.status == status));
        let found = timeout(20 * SECOND, wanted).await.map(|said| said.unwrap().clone().unwrap());
        found.unwrap_or_else(|_| panic!("not {status}: {:?}", self.serving.borrow()))
    }
    async fn closed(&mut self) {
        timeout(20 * SECOND, self.serving.wait_for(Option::is_none)).await.unwrap().unwrap();
    }
}

fn limits() -> Limits {
    Limits { connections: 64, of_one: 64, hold: HOLD, linger: 2 * SECOND, end: 2 * SECOND }
}

/// A port that was free a moment ago.
fn free(ip: &str) -> SocketAddr {
    std::net::TcpListener::bind(format!("{ip}:0")).unwrap().local_addr().unwrap()
}

async fn traefik() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

/// The next connection, its header taken off.
async fn taken(listener: &TcpListener, length: usize) -> (TcpStream, Vec<u8>) {
    let (mut stream, _) = timeout(20 * SECOND, listener.accept()).await.unwrap().unwrap();
    let mut header = vec![0; length];
    stream.read_exact(&mut header).await.unwrap();
    (stream, header)
}

#[tokio::test]
async fn a_connection_reaches_traefik_with_its_address_and_ends_each_way_by_itself() {
    let (listener, to) = traefik().await;
    // One socket of both families, asked by both.
    let at = SocketAddr::new("::".parse().unwrap(), free("127.0.0.1").port());
    let mut rig = rig(limits());
    rig.want(&[(at, to)]);
    assert_eq!(rig.says(ConditionStatus::True).await.message, format!("open: {}", at.port()));
    for (ip, length) in [("127.0.0.1", 28), ("::1", 52)] {
        let public = SocketAddr::new(ip.parse().unwrap(), at.port());
        let mut client = TcpStream::connect(public).await.unwrap();
        client.write_all(b"question").await.unwrap();
        let (mut server, header) = taken(&listener, length).await;
        assert_eq!(header, header::encode(client.local_addr().unwrap(), public));
        // The client has said everything, and hears all of a long answer.
        client.shutdown().await.unwrap();
        let mut said = Vec::new();
        server.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"question");
        let answer: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut heard, expected) = (Vec::new(), answer.clone());
        let (sent, read) = tokio::join!(
            async {
                server.write_all(&answer).await?;
                server.shutdown().await
            },
            client.read_to_end(&mut heard)
        );
        sent.unwrap();
        read.unwrap();
        assert!(heard == expected, "{ip}: {} bytes", heard.len());
    }
}

#[tokio::test]
async fn a_server_that_ends_first_still_hears_the_client_and_a_silent_rest_is_cut() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(limits());
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    let (mut server, _) = taken(&listener, 28).await;
    server.write_all(b"early").await.unwrap();
    server.shutdown().await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"early");
    client.write_all(b"late").await.unwrap();
    let mut word = [0; 4];
    server.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"late");
    // And then says nothing and does not end.
    let ended = timeout(10 * SECOND, server.read(&mut word)).await.expect("cut after the time for lingering");
    assert!(ended.is_err() || ended.is_ok_and(|n| n == 0));
}

#[tokio::test]
async fn what_is_broken_off_does_not_look_whole() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(limits());
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    let (mut server, _) = taken(&listener, 28).await;
    server.write_all(b"half").await.unwrap();
    let mut word = [0; 4];
    client.read_exact(&mut word).await.unwrap();
    rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO)).unwrap();
    drop(server);
    let ended = timeout(10 * SECOND, client.read(&mut word)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_is_kept_while_traefik_is_not_there_but_not_for_ever() {
    let (at, to) = (free("127.0.0.1"), free("127.0.0.1"));
    let mut rig = rig(limits());
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let began = Instant::now();
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(b"early").await.unwrap();
    sleep(Duration::from_millis(300)).await;
    let listener = TcpListener::bind(to).await.unwrap();
    let (mut server, _) = taken(&listener, 28).await;
    let mut word = [0; 5];
    server.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"early");
    assert!(began.elapsed() < HOLD);
    drop((listener, server, client));

    let began = Instant::now();
    let mut client = TcpStream::connect(at).await.unwrap();
    let ended = timeout(10 * SECOND, client.read(&mut word)).await.unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|n| n == 0));
    assert!(began.elapsed() >= HOLD - 2 * PAUSE, "{:?}", began.elapsed());

    // Whoever asks in clear is told; who does not is sent away without a word, as above.
    for (said, answer) in [(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "HTTP/1.1 503 "), (b"\x16\x03\x01\x02", "")] {
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(said).await.unwrap();
        let mut told = String::new();
        let _ = timeout(10 * SECOND, client.read_to_string(&mut told)).await.unwrap();
        assert!(told.starts_with(answer) && told.is_empty() == answer.is_empty(), "{told:?}");
        assert!(answer.is_empty() || told.contains("Retry-After: ") && told.ends_with("no Traefik is there to ask\n"));
    }
}

#[tokio::test]
async fn a_client_waits_while_traefik_listens_and_has_no_routes_yet() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(limits());
    rig.wait_at(at);
    rig.says(ConditionStatus::True).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(b"early").await.unwrap();
    assert!(timeout(SECOND / 3, listener.accept()).await.is_err(), "it would answer 404");
    rig.want(&[(at, to)]);
    let (mut server, _) = taken(&listener, 28).await;
    let mut word = [0; 5];
    server.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"early");
    // Traefik is replaced: what is open goes on, what comes waits, for its time.
    rig.wait_at(at);
    let mut waits = TcpStream::connect(at).await.unwrap();
    server.write_all(b"later").await.unwrap();
    client.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"later");
    let began = Instant::now();
    let ended = timeout(10 * SECOND, waits.read(&mut word)).await.unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|n| n == 0));
    assert!(began.elapsed() >= HOLD / 2, "{:?}", began.elapsed());
    assert!(timeout(SECOND / 10, listener.accept()).await.is_err());
}

#[tokio::test]
async fn one_source_does_not_take_every_seat() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(Limits { connections: 8, of_one: 2, ..limits() });
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let from = async |ip: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        socket.connect(at).await.unwrap()
    };
    let mut greedy = Vec::new();
    for _ in 0..2 {
        greedy.push((from("127.0.0.2").await, taken(&listener, 28).await));
    }
    for _ in 0..10 {
        let mut third = from("127.0.0.2").await;
        let ended = timeout(10 * SECOND, third.read(&mut [0])).await.expect("it is sent away");
        assert!(ended.is_err() || ended.is_ok_and(|n| n == 0));
    }
    let _another = from("127.0.0.3").await;
    taken(&listener, 28).await;
    // One that goes makes room.
    greedy.pop();
    let again = async {
        loop {
            let _third = from("127.0.0.2").await;
            if timeout(SECOND / 10, listener.accept()).await.is_ok() {
                return;
            }
        }
    };
    timeout(10 * SECOND, again).await.unwrap();
}

#[tokio::test]
async fn a_port_that_another_process_has_is_named_and_taken_back_when_it_is_free() {
    let (_listener, to) = traefik().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, other) = (taken.local_addr().unwrap(), free("127.0.0.1"));
    let mut rig = rig(limits());
    rig.want(&[(at, to), (other, to)]);
    let said = rig.says(ConditionStatus::False).await;
    assert_eq!(said.reason, Reason::PortConflict);
    assert!(said.message.starts_with(&format!("port {} is held by ", at.port())), "{}", said.message);
    assert!(said.message.ends_with(&format!("(pid {})", std::process::id())), "{}", said.message);
    TcpStream::connect(other).await.expect("the other port serves");
    drop(taken);
    let free = Instant::now();
    rig.says(ConditionStatus::True).await;
    assert!(free.elapsed() < 2 * SECOND, "{:?}", free.elapsed());
    TcpStream::connect(at).await.unwrap();
    rig.want(&[]);
    rig.closed().await;
}

#[tokio::test]
async fn a_port_that_nothing_asks_for_is_closed_and_what_it_accepted_goes_on() {
    let ((first, to), (second, elsewhere)) = (traefik().await, traefik().await);
    let at = free("127.0.0.1");
    let mut rig = rig(limits());
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    let (mut server, _) = taken(&first, 28).await;
    // The next go elsewhere, through the same listener.
    rig.want(&[(at, elsewhere)]);
    let turned = async {
        loop {
            let _client = TcpStream::connect(at).await.unwrap();
            if timeout(SECOND / 10, second.accept()).await.is_ok() {
                return;
            }
        }
    };
    timeout(10 * SECOND, turned).await.unwrap();
    rig.want(&[]);
    rig.closed().await;
    assert_eq!(TcpStream::connect(at).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let mut word = [0; 4];
    for _ in 0..2 {
        client.write_all(b"ping").await.unwrap();
        server.read_exact(&mut word).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"pong");
    }
    std::net::TcpListener::bind(at).expect("it is free");
}

#[tokio::test]
async fn who_comes_when_all_seats_are_taken_waits() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(Limits { connections: 1, ..limits() });
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let first = TcpStream::connect(at).await.unwrap();
    let (server, _) = taken(&listener, 28).await;
    let mut second = TcpStream::connect(at).await.unwrap();
    second.write_all(b"x").await.unwrap();
    assert!(timeout(SECOND / 5, listener.accept()).await.is_err(), "one at a time");
    drop((first, server));
    let (mut server, _) = taken(&listener, 28).await;
    assert_eq!(server.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn an_agent_that_ends_lets_answers_finish_and_idle_connections_go() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(Limits { end: 20 * SECOND, ..limits() });
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let mut idle = TcpStream::connect(at).await.unwrap();
    let (mut one, _) = taken(&listener, 28).await;
    let mut busy = TcpStream::connect(at).await.unwrap();
    let (mut two, _) = taken(&listener, 28).await;
    idle.write_all(b"?").await.unwrap();
    busy.write_all(b"?").await.unwrap();
    for server in [&mut one, &mut two] {
        assert_eq!(server.read_u8().await.unwrap(), b'?');
    }
    one.write_all(b"!").await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'!');
    rig.stop.cancel();
    let began = Instant::now();
    assert!(timeout(10 * SECOND, idle.read_u8()).await.unwrap().is_err(), "nothing is in flight there");
    assert!(!rig.running.is_finished());
    two.write_all(b"!").await.unwrap();
    assert_eq!(busy.read_u8().await.unwrap(), b'!');
    timeout(10 * SECOND, rig.running).await.unwrap().unwrap();
    assert!(began.elapsed() < 10 * SECOND);
}

#[tokio::test]
async fn what_goes_through_a_traefik_that_is_not_counted_on_ends_and_who_comes_then_is_not_touched() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(limits());
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let (mut idle, mut busy) = (TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap());
    let (mut one, mut two) = (taken(&listener, 28).await.0, taken(&listener, 28).await.0);
    for (client, server) in [(&mut idle, &mut one), (&mut busy, &mut two)] {
        client.write_all(b"?").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'?');
    }
    one.write_all(b"!").await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'!');
    rig.asked.send_modify(|asked| asked.cut = 1);
    assert!(timeout(SECOND, idle.read_u8()).await.unwrap().is_err(), "nothing is in flight there");
    let mut after = TcpStream::connect(at).await.unwrap();
    assert!(timeout(10 * SECOND, busy.read_u8()).await.unwrap().is_err(), "it has had its time");
    let (mut three, _) = taken(&listener, 28).await;
    three.write_all(b"!").await.unwrap();
    assert_eq!(after.read_u8().await.unwrap(), b'!');
}

/// Set up by `make test`; without it this fails, it does not skip.
#[tokio::test]
async fn the_real_traefik_hears_who_the_client_is_and_its_restart_fails_nobody() {
    let program = std::env::var("CONSTELLATION_TEST_TRAEFIK").expect("CONSTELLATION_TEST_TRAEFIK: run `make test`");
    let (server, (at, to)) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), (free("127.0.0.1"), free("127.0.0.1")));
    let (root, other) = (tempfile::tempdir().unwrap(), free("127.0.0.1"));
    // Told what it serves as by an agent, and asked for it.
    let provider = crate::mutate::Answering::new(|_| None).await;
    let url = format!("http://{}", server.local_addr().unwrap());
    let document = Document::default().bytes(Marker::default()).unwrap();
    let mut routes: serde_json::Value = serde_json::from_slice(&document).unwrap();
    routes["http"]["routers"]["all"] = serde_json::json!({"rule": "PathPrefix(`/`)", "service": "one"});
    routes["http"]["services"] = serde_json::json!({"one": {"loadBalancer": {"servers": [{"url": url}]}}});
    provider.say(crate::mutate::answer(200, "application/json", routes.to_string()));
    let start = || {
        let mut command = tokio::process::Command::new(&program);
        command.args(["--global.checkNewVersion=false", "--entryPoints.web.proxyProtocol.trustedIPs=127.0.0.1/32"]);
        command.arg("--entryPoints.websecure.proxyProtocol.trustedIPs=127.0.0.1/32");
        command.arg(format!("--entryPoints.web.address={to}"));
        command.arg(format!("--entryPoints.websecure.address={other}"));
        command.arg(format!("--providers.http.endpoint=http://{}/", provider.address));
        command.arg("--providers.http.pollInterval=100ms");
        command.current_dir(root.path());
        command.kill_on_drop(true).stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    // Says the head that it was asked with.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 8_192];
                while let Ok(length @ 1..) = stream.read(&mut head).await {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.write_all(&head[..length]).await.unwrap();
                }
            });
        }
    });
    let mut rig = rig(Limits { hold: 30 * SECOND, ..limits() });
    rig.wait_at(at);
    rig.says(ConditionStatus::True).await;
    let ask = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut client = socket.connect(at).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        timeout(40 * SECOND, client.read_to_string(&mut said)).await.unwrap().unwrap();
        said.to_lowercase()
    };
    let served = async || {
        let mut lines = Lines::new([to, other]);
        while lines.ask().await.ok().flatten().is_none() {
            sleep(PAUSE / 10).await;
        }
        rig.want(&[(at, to)]);
    };
    for _ in 0..2 {
        // Asked while it starts, all the time: each connection waits until there are routes.
        let mut traefik = start();
        let asking = async {
            let mut said = Vec::new();
            for _ in 0..30 {
                said.push(ask().await);
            }
            said
        };
        let (said, ()) = timeout(40 * SECOND, async { tokio::join!(asking, served()) }).await.unwrap();
        for said in said {
            assert!(said.starts_with("http/1.1 200 "), "{said}");
            assert!(said.contains("\r\nx-forwarded-for: 127.0.0.2\r\n"), "{said}");
            assert!(said.contains("\r\nx-real-ip: 127.0.0.2\r\n"), "{said}");
        }
        rig.wait_at(at);
        traefik.kill().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_server_broke_off_unheard_is_told_to_the_next_unless_it_may_have_been_done() {
    let (listener, to) = traefik().await;
    let at = free("127.0.0.1");
    let mut rig = rig(limits());
    rig.want(&[(at, to)]);
    rig.says(ConditionStatus::True).await;
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (said, again) in [(&get[..], true), (b"\x16\x03\x01hello", true), (b"POST / HTTP/1.1\r\n\r\n", false)] {
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(said).await.unwrap();
        let (mut first, _) = taken(&listener, 28).await;
        let mut heard = vec![0; said.len()];
        first.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said);
        pump::break_off(&first);
        drop(first);
        if again {
            let (mut second, header) = taken(&listener, 28).await;
            assert_eq!(header, header::encode(client.local_addr().unwrap(), at));
            heard.fill(0);
            second.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, said);
            // What is said later is said once.
            client.write_all(b" more").await.unwrap();
            let mut more = [0; 5];
            second.read_exact(&mut more).await.unwrap();
            second.write_all(b"answer").await.unwrap();
            drop(second);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!((&more, &answer[..]), (b" more", &b"answer"[..]));
        } else {
            let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(timeout(SECOND, listener.accept()).await.is_err(), "nobody else hears of it");
        }
    }
    // Not without an end either.
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(get).await.unwrap();
    for _ in 0..ATTEMPTS {
        let (mut stream, _) = taken(&listener, 28).await;
        stream.read_exact(&mut [0; 27]).await.unwrap();
        pump::break_off(&stream);
    }
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
