//! Claims about finding the admin API and reading what it answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use super::*;

fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
    pairs.into_iter()
}

/// The address of a listener that answers one request with `response`.
fn answering(response: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut socket, _address) = listener.accept().unwrap();
        let mut head = [0; 4096];
        assert!(socket.read(&mut head).unwrap() > 0);
        socket.write_all(response.as_bytes()).unwrap();
    });
    url
}

fn sent_to(url: &str) -> Result<Value, Failure> {
    let token = Token::parse("kwop_x", "here").unwrap();
    let api = Api::new(url, None, token).unwrap();
    api.send(api.call(Method::GET, "/v1/keys")).map(|it| it.document)
}

#[test]
fn without_a_token_it_is_said_where_one_comes_from() {
    let Err(Failure::Usage(words)) = Token::find(environment(&[])) else { panic!("no token") };
    assert!(words.contains("KEYWARD_ADMIN_TOKEN_FILE"), "{words}");
}

#[test]
fn a_token_comes_from_the_environment_or_the_file_that_it_names() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "kwop_file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let of_file = Token::find(environment(&[("KEYWARD_ADMIN_TOKEN_FILE", path)])).unwrap();
    assert_eq!(of_file.0.as_str(), "kwop_file");
    let both = [("KEYWARD_ADMIN_TOKEN_FILE", path), ("KEYWARD_ADMIN_TOKEN", "kwop_env")];
    assert_eq!(Token::find(environment(&both)).unwrap().0.as_str(), "kwop_env");
}

#[test]
fn an_authority_that_is_none_is_a_matter_of_usage() {
    let (file, missing) = (tempfile::NamedTempFile::new().unwrap(), Path::new("/nowhere/ca.pem"));
    for (ca, words) in [(file.path(), "no certificate"), (missing, "cannot be read")] {
        let wire = Wire::new("https://127.0.0.1:8081", Some(ca));
        let Err(Failure::Usage(said)) = wire else { panic!("{}", ca.display()) };
        assert!(said.starts_with("KEYWARD_ADMIN_CA: ") && said.contains(words), "{said}");
    }
}

#[test]
fn what_is_no_token_is_not_repeated() {
    let Err(failure) = Token::parse("kwop_a b", "KEYWARD_ADMIN_TOKEN") else { panic!("a token") };
    assert!(!format!("{failure:?}").contains("kwop_a"));
}

#[test]
fn an_address_that_is_none_is_a_matter_of_usage() {
    for url in ["", "localhost:8081", "ftp://x"] {
        assert!(matches!(Wire::new(url, None), Err(Failure::Usage(_))), "{url}");
    }
}

#[test]
fn nobody_there_is_unreachable() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let Err(Failure::Unreachable(words)) = sent_to(&url) else { panic!("nobody is there") };
    assert!(words.starts_with(&format!("{url} cannot be reached (")), "{words}");
}

#[test]
fn an_answer_is_its_document() {
    let url = answering("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\": 1}");
    assert_eq!(sent_to(&url).unwrap(), serde_json::json!({ "a": 1 }));
}

#[test]
fn a_problem_is_a_refusal_and_anything_else_a_stranger() {
    let url =
        answering("HTTP/1.1 404 Not Found\r\ncontent-length: 20\r\n\r\n{\"code\":\"not_found\"}");
    let Err(Failure::Refused(problem)) = sent_to(&url) else { panic!("a problem") };
    assert_eq!(problem.code, "not_found");
    let url = answering("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno");
    let Err(Failure::Failed(words)) = sent_to(&url) else { panic!("a stranger") };
    assert!(words.contains("is not an admin listener of keyward"), "{words}");
}
