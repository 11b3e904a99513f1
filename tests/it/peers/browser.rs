//! A browser loads a page through the gateway, over TLS, and its scripts speak with the API.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::Stage;
use crate::support::peer::{Peer, program, python, run};
use crate::support::setup::Setup;
use crate::support::upstream::{Conversation, Upstream, ok};
use crate::support::wait::eventually;

/// What the page needs, and what it tells when it is done.
fn site(key: Arc<Mutex<String>>) -> Upstream {
    let is_done = Arc::new(Mutex::new(false));
    Upstream::scripted(move |conversation| {
        while let Some(request) = conversation.request()? {
            let target = request.target().to_owned();
            match target.as_str() {
                "/public/page" => {
                    let page = PAGE.replace("THE_KEY", &key.lock().unwrap());
                    conversation.send(answer("text/html; charset=utf-8", page.as_bytes()))?;
                }
                "/public/events" => events(conversation)?,
                "/public/done" => {
                    *is_done.lock().unwrap() = true;
                    conversation.send(ok(""))?;
                }
                "/public/held.png" => {
                    eventually("the page is done", || *is_done.lock().unwrap());
                    conversation.send(answer("image/png", b""))?;
                }
                _ => {
                    let key = request.header("api-key").unwrap_or("none");
                    let id = request.header("x-keyward-key-id").unwrap_or("none");
                    let document = json!({ "key": key, "id": id, "bytes": request.body_bytes, "cookies": request.head.all("cookie") });
                    let document = document.to_string();
                    conversation.send(answer("application/json", document.as_bytes()))?;
                }
            }
        }
        Ok(())
    })
}

/// Each event is sent only once the one before it must have come through: they are flushed.
fn events(conversation: &mut Conversation) -> io::Result<()> {
    conversation.send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    for number in 1..=3 {
        let event = format!("data: {number}\n\n");
        conversation.send(format!("{:x}\r\n{event}\r\n", event.len()))?;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // It goes on until the browser has had enough.
    while conversation.head()?.is_some() {}
    Ok(())
}

fn answer(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What the page found, as the browser has it in its document in the end.
#[track_caller]
fn visit(url: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(&["chromium", "chromium-browser", "google-chrome"]);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--ignore-certificate-errors", "--no-proxy-server", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update"]);
    command.arg(format!("--user-data-dir={}", home.path().display())).env("HOME", home.path());
    let said = run(command.args(["--dump-dom", url]));
    let found =
        said.out.split_once("<pre id=\"found\">").and_then(|(_, it)| it.split_once("</pre>"));
    let (found, _) = found.unwrap_or_else(|| panic!("{said:?}"));
    serde_json::from_str(found).unwrap_or_else(|fault| panic!("{fault}: {found}"))
}

#[test]
fn the_scripts_of_a_page_speak_with_the_api_over_tls() {
    let key = Arc::new(Mutex::new(String::new()));
    let site = site(Arc::clone(&key));
    let mut server = Peer::start(python("websocket_peer.py").arg("serve"));
    let setup = Setup::to(site.address())
        .upstream("rooms", &[server.address()])
        .route("rooms", "path = \"/public/room\"\naccess = \"public\"\nupgrades = [\"websocket\"]");
    let stage = Stage::new(&setup);
    key.lock().unwrap().clone_from(&stage.key.plaintext);
    let found = visit(&format!("https://{}/public/page", stage.secure));
    let id = &stage.key.id;
    // A browser splits its cookies for HTTP/2, and the upstream speaks HTTP/1.1.
    let expected = json!({
        "asked": { "key": "none", "id": id, "bytes": 0, "cookies": ["a=1; b=2; c=3"] },
        "sent": { "key": "none", "id": id, "bytes": 1 << 20, "cookies": ["a=1; b=2; c=3"] },
        "refused": { "status": 401, "code": "missing_key" },
        "many": 40,
        "events": ["1", "2", "3"],
        "socket": "echoed",
        "protocol": "h2",
    });
    assert_eq!(found, expected);
}

/// The image is answered only when all else is done, and the document is shown when it has loaded.
const PAGE: &str = r#"<!doctype html>
<title>A page</title>
<img src="/public/held.png">
<pre id="found"></pre>
<script>
const headers = { "api-key": "THE_KEY" };
const json = async (path, options) => (await fetch(path, options)).json();

function events() {
  return new Promise((resolve, reject) => {
    const heard = [], source = new EventSource("/public/events");
    source.onmessage = (it) => {
      heard.push(it.data);
      if (heard.length === 3) { source.close(); resolve(heard); }
    };
    source.onerror = () => reject(new Error("the events ended after " + heard));
  });
}

function socket() {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/public/room`);
    socket.onopen = () => socket.send("echoed");
    socket.onmessage = (it) => { socket.close(); resolve(it.data); };
    socket.onerror = () => reject(new Error("the socket failed"));
  });
}

async function look() {
  for (const it of ["a=1", "b=2", "c=3"]) document.cookie = it + "; path=/";
  const refused = await fetch("/contacts");
  const many = await Promise.all(Array.from({ length: 40 }, (_, at) => json("/many/" + at, { headers })));
  return {
    asked: await json("/contacts", { headers }),
    sent: await json("/contacts", { method: "POST", headers, body: "x".repeat(1 << 20) }),
    refused: { status: refused.status, code: (await refused.json()).code },
    many: many.length,
    events: await events(),
    socket: await socket(),
    protocol: performance.getEntriesByType("navigation")[0].nextHopProtocol,
  };
}

look().catch((fault) => ({ fault: String(fault) })).then((it) => {
  document.getElementById("found").textContent = JSON.stringify(it);
  fetch("/public/done", { method: "POST" });
});
</script>
"#;
