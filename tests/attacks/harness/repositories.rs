//! Attacks that are repositories, or servers of repositories: each is fetched by its own service.

use std::path::Path;

use serde_json::{Value, json};

use super::corpus::{Aim, Need};
use super::site::{HOOK, Repository, Response, Site};

/// Prepares the site, and returns the members that are posted beside the nonce.
type Prepare = Box<dyn Fn(&Site) -> Value + Send + Sync>;

/// One attack by a repository or a server.
pub struct Hosted {
    pub name: &'static str,
    pub aim: Aim,
    pub prepare: Prepare,
    pub fetched: Fetched,
    /// A text in some line of output; empty where no text is expected.
    pub shows: &'static str,
    pub needs: Option<Need>,
}

/// The outcome of fetching it.
pub enum Fetched {
    /// The submission is refused with this code, for this reason.
    Refused(&'static str, &'static str),
    /// The job fails, for this reason.
    Fails(&'static str),
    /// The build is of the files that the commit names, without the attack.
    Harmless,
}

use Fetched::{Fails, Harmless, Refused};

const SCHEME: &str = "the URL does not start with https:// or http://";

/// Returns all attacks by repositories and servers.
pub fn hosted() -> Vec<Hosted> {
    [
        submissions(),
        submodules(),
        modules(),
        trees(),
        links(),
        commits(),
        servers(),
        smart_servers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn case(
    name: &'static str,
    aim: Aim,
    fetched: Fetched,
    prepare: impl Fn(&Site) -> Value + Send + Sync + 'static,
) -> Hosted {
    Hosted {
        name,
        aim,
        prepare: Box::new(prepare),
        fetched,
        shows: "",
        needs: None,
    }
}

/// Hostile values in the fields of a submission.
fn submissions() -> Vec<Hosted> {
    let url = |name, aim, text: &'static str, reason| {
        case(
            name,
            aim,
            Refused("repository-url-invalid", reason),
            move |_| json!({ "repo_url": text }),
        )
    };
    let reference = |name, aim, text: &'static str, reason| {
        case(
            name,
            aim,
            Refused("ref-invalid", reason),
            move |site: &Site| json!({ "repo_url": site.url("honest"), "repo_ref": text }),
        )
    };
    vec![
        url("url_is_a_program", Aim::Phase, "ext::sh -c id", SCHEME),
        url("url_is_a_file", Aim::Host, "file:///etc", SCHEME),
        url("url_is_an_option", Aim::Phase, "--upload-pack=id", SCHEME),
        url(
            "url_hides_its_host",
            Aim::Provenance,
            "https://a.example\\@127.0.0.1/x",
            "not allowed: '\\\\'",
        ),
        url(
            "url_has_a_password",
            Aim::Provenance,
            "https://user:secret@a.example/x",
            "the URL has credentials",
        ),
        reference(
            "ref_is_an_option",
            Aim::Phase,
            "--upload-pack=id",
            "the ref starts with a dash",
        ),
        reference(
            "ref_climbs",
            Aim::Phase,
            "refs/heads/../../config",
            "the ref is not well-formed",
        ),
        reference(
            "ref_is_two",
            Aim::Phase,
            "main:refs/heads/x",
            "not allowed: ':'",
        ),
        reference(
            "ref_is_a_search",
            Aim::Provenance,
            "HEAD^{/x}",
            "not allowed: '^'",
        ),
        reference(
            "ref_is_half_an_id",
            Aim::Provenance,
            "deadbeef",
            "short commit ids are refused",
        ),
    ]
}

/// Hostile URLs of submodules.
fn submodules() -> Vec<Hosted> {
    let submodule = |name, url: &'static str, reason| {
        case(name, Aim::Phase, Fails(reason), move |site: &Site| {
            let url = url.replace("CANARY", site.canary.to_str().unwrap());
            site.with_modules(&format!(
                "[submodule \"s\"]\n\tpath = sub\n\turl = \"{url}\"\n"
            ))
        })
    };
    vec![
        submodule(
            "submodule_is_an_option",
            "--upload-pack=touch CANARY",
            SCHEME,
        ),
        submodule(
            "submodule_is_an_option_below",
            "./--upload-pack=touch CANARY",
            "not allowed: ' '",
        ),
        submodule("submodule_is_a_program", "ext::sh -c touch% CANARY", SCHEME),
        submodule("submodule_is_a_file", "file:///etc", SCHEME),
        submodule("submodule_is_a_path", "/etc", SCHEME),
        submodule("submodule_is_ssh", "ssh://-oProxyCommand=id/x", SCHEME),
        submodule("submodule_is_a_remote_path", "-oProxyCommand=id:x", SCHEME),
        submodule(
            "submodule_leaves_its_host",
            "../../../../a.example/x",
            "component",
        ),
        submodule(
            "submodule_has_a_password",
            "https://user:secret@a.example/x",
            "the URL has credentials",
        ),
        case(
            "submodule_is_not_there",
            Aim::Provenance,
            Fails("/nothing/attack.git/' not found"),
            |site: &Site| {
                site.with_modules(
                    "[submodule \"s\"]\n\tpath = sub\n\turl = ../../nothing/attack.git\n",
                )
            },
        ),
    ]
}

/// Other settings of `.gitmodules`, which git itself has followed at some time.
fn modules() -> Vec<Hosted> {
    let settings = |name, aim, fetched, text: &str| {
        let text = text.to_owned();
        case(name, aim, fetched, move |site: &Site| {
            site.with_modules(&text.replace("CANARY", site.canary.to_str().unwrap()))
        })
    };
    let inner = "path = sub\n\turl = ../../inner/attack.git\n";
    vec![
        settings(
            "modules_update_by_a_program",
            Aim::Phase,
            Harmless,
            &format!("[submodule \"s\"]\n\t{inner}\tupdate = !touch CANARY\n"),
        ),
        settings(
            "modules_climb_by_name",
            Aim::Phase,
            Harmless,
            &format!("[submodule \"../../hooks\"]\n\t{inner}"),
        ),
        settings(
            "modules_set_a_monitor",
            Aim::Phase,
            Harmless,
            &format!(
                "[core]\n\tfsmonitor = touch CANARY\n\tpager = touch CANARY\n[submodule \"s\"]\n\t{inner}"
            ),
        ),
        settings(
            "modules_include_a_file",
            Aim::Host,
            Fails("the submodule at `sub` has no URL"),
            "[include]\n\tpath = /etc/passwd\n[submodule \"s\"]\n\tpath = sub\n",
        ),
        settings(
            "modules_climb_by_path",
            Aim::Host,
            Fails("the submodule at `sub` has no URL"),
            "[submodule \"s\"]\n\tpath = ../../../sub\n\turl = ../../inner/attack.git\n",
        ),
        settings(
            "modules_say_two_urls",
            Aim::Provenance,
            Fails("`submodule.s.url` is set twice"),
            &format!("[submodule \"s\"]\n\turl = ../../other/attack.git\n\t{inner}"),
        ),
        settings(
            "modules_share_a_path",
            Aim::Provenance,
            Fails("two submodules are at `sub`"),
            &format!("[submodule \"s\"]\n\t{inner}[submodule \"t\"]\n\t{inner}"),
        ),
        case(
            "modules_are_a_link",
            Aim::Host,
            Fails("invalid path '.gitmodules'"),
            |site: &Site| {
                let outer = site.honest("outer");
                let target = outer.object("blob", b"/etc/passwd");
                outer.graft("120000", b".gitmodules", &target);
                site.submit(&outer)
            },
        ),
        case(
            "submodules_have_no_end",
            Aim::Host,
            Fails("or nests them deeper than"),
            |site: &Site| {
                let mut below = site.honest("level-0").head();
                for level in 1..=9 {
                    let repository = site.honest(&format!("level-{level}"));
                    let text = format!(
                        "[submodule \"s\"]\n\tpath = sub\n\turl = ../../level-{}/attack.git\n",
                        level - 1
                    );
                    repository.write(".gitmodules", text.as_bytes());
                    repository.commit();
                    below = repository.graft("160000", b"sub", &below);
                }
                json!({ "repo_url": site.url("level-9") })
            },
        ),
        case(
            "submodules_are_too_many",
            Aim::Host,
            Fails("more than 64 submodules"),
            |site: &Site| {
                let outer = site.honest("outer");
                for number in 0..65 {
                    outer.graft("160000", format!("sub{number}").as_bytes(), &"1".repeat(40));
                }
                site.submit(&outer)
            },
        ),
    ]
}

/// Trees that no `git add` makes, and attributes that change what is checked out.
fn trees() -> Vec<Hosted> {
    let tree = |name, aim, reason, change: fn(&Repository, &Path)| {
        case(name, aim, Fails(reason), move |site: &Site| {
            let outer = site.honest("outer");
            change(&outer, &site.canary);
            site.submit(&outer)
        })
    };
    vec![
        tree(
            "tree_has_a_git_directory",
            Aim::Phase,
            "invalid path '.git/config'",
            |outer, _| {
                let config = outer.object("blob", b"[core]\n\tfsmonitor = id\n");
                let directory = outer.tree(&[("100644", b"config", &config)]);
                outer.graft("40000", b".git", &directory);
            },
        ),
        tree(
            "tree_climbs",
            Aim::Host,
            "invalid path '../canary'",
            |outer, _| {
                let file = outer.object("blob", b"dead");
                let directory = outer.tree(&[("100644", b"canary", &file)]);
                outer.graft("40000", b"..", &directory);
            },
        ),
        tree(
            "tree_has_names_with_slashes",
            Aim::Host,
            "invalid path 'src/../../x'",
            |outer, _| {
                let file = outer.object("blob", b"dead");
                outer.graft("100644", b"src/../../x", &file);
            },
        ),
        tree(
            "tree_has_a_name_twice",
            Aim::Provenance,
            "twice",
            |outer, _| {
                let file = outer.object("blob", b"fn main() { println!(\"other\") }");
                outer.graft("100644", b"Cargo.lock", &file);
            },
        ),
        tree(
            "tree_has_a_link_and_a_directory_of_one_name",
            Aim::Host,
            "link",
            |outer, canary| {
                let target = outer.object(
                    "blob",
                    canary.parent().unwrap().to_str().unwrap().as_bytes(),
                );
                let file = outer.object("blob", b"dead");
                let directory = outer.tree(&[("100644", b"canary", &file)]);
                outer.graft("120000", b"directory", &target);
                outer.graft("40000", b"directory", &directory);
            },
        ),
        tree("tree_links_out", Aim::Host, "absolute", |outer, canary| {
            let target = outer.object("blob", canary.to_str().unwrap().as_bytes());
            outer.graft("120000", b"link", &target);
        }),
        tree(
            "tree_has_a_name_with_codes",
            Aim::Log,
            "the name has a control character",
            |outer, _| {
                let file = outer.object("blob", b"");
                outer.graft("100644", b"\x1b]0;owned\x07\x1b[2J", &file);
            },
        ),
        case(
            "attributes_rewrite_files",
            Aim::Provenance,
            Harmless,
            |site: &Site| {
                let outer = site.honest("outer");
                let attributes = "*.rs export-subst ident text eol=crlf working-tree-encoding=UTF-16\nCargo.lock filter=x\n\
                              src export-ignore\n[attr]all -diff\n* all\n";
                outer.write_unchanged(".gitattributes", attributes.as_bytes());
                site.submit(&outer)
            },
        ),
        case(
            "attributes_fetch_large_files",
            Aim::Phase,
            Fails("large.bin of the source is a pointer of git LFS"),
            |site: &Site| {
                let outer = site.honest("outer");
                let pointer = format!(
                    "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n",
                    "0".repeat(64)
                );
                outer.write_unchanged(
                    ".gitattributes",
                    b"*.bin filter=lfs diff=lfs merge=lfs -text\n",
                );
                outer.write_unchanged(
                    ".lfsconfig",
                    format!("[lfs]\n\turl = {}\n", site.elsewhere()).as_bytes(),
                );
                outer.write_unchanged("large.bin", pointer.as_bytes());
                site.submit(&outer)
            },
        ),
        case(
            "tree_has_a_repository_in_it",
            Aim::Phase,
            // As root the build has the `.git` that was made for it, which git finds first.
            if rustix::process::geteuid().is_root() {
                Harmless
            } else {
                Fails("did not expect repo at /kettle/source to be bare")
            },
            |site: &Site| {
                let outer = site.honest("outer");
                let config = format!(
                    "[core]\n\tbare = true\n\tfsmonitor = touch {}\n",
                    site.canary.display()
                );
                for (name, content) in [
                    ("HEAD", "ref: refs/heads/main\n"),
                    ("config", &config),
                    ("objects/x", ""),
                    ("refs/heads/x", ""),
                ] {
                    outer.write(name, content.as_bytes());
                }
                outer.commit();
                site.submit(&outer)
            },
        ),
        case(
            "tree_has_git_in_capitals",
            Aim::Phase,
            Fails("invalid path '.GIT/config'"),
            |site: &Site| {
                let outer = site.honest("outer");
                let file = outer.object("blob", b"[core]\n\tfsmonitor = id\n");
                let directory = outer.tree(&[("100644", b"config", &file)]);
                outer.graft("40000", b".GIT", &directory);
                site.submit(&outer)
            },
        ),
    ]
}

/// Links of a tree, which may lead nowhere, to a path where a file could be while it is fetched or
/// built.
fn links() -> Vec<Hosted> {
    let linked = |name, aim, fetched, link: &'static str, target: &'static str| {
        case(name, aim, fetched, move |site: &Site| {
            let outer = site.honest("outer");
            outer.link(link, target);
            outer.commit();
            site.submit(&outer)
        })
    };
    vec![
        linked(
            "config_leads_in_a_circle",
            Aim::Host,
            Harmless,
            ".cargo",
            ".cargo",
        ),
        linked(
            "config_leads_nowhere",
            Aim::Host,
            Harmless,
            ".cargo/config.toml",
            "../missing/config.toml",
        ),
        linked(
            "config_leads_to_gits",
            Aim::Provenance,
            Harmless,
            ".cargo/config.toml",
            "../.git/config",
        ),
        linked(
            "toolchain_leads_nowhere",
            Aim::Host,
            Harmless,
            "rust-toolchain.toml",
            "missing",
        ),
        linked(
            "program_leads_to_gits",
            Aim::Provenance,
            Fails("cargo cannot read the project"),
            "src/main.rs",
            "../.git/config",
        ),
        linked(
            "lock_leads_to_another",
            Aim::Provenance,
            Fails("neither a Cargo.lock nor a flake.lock"),
            "Cargo.lock",
            "other.lock",
        ),
    ]
}

/// Commits that no `git commit` makes, and names that stand in for others.
fn commits() -> Vec<Hosted> {
    let at = |name, time: &'static str| {
        case(
            name,
            Aim::Host,
            Fails("is malformed"),
            move |site: &Site| {
                let outer = site.honest("outer");
                // What is packed from the source of an unpacked package gets the time of the
                // commit.
                outer.write("Cargo.toml.orig", b"");
                outer.write("src/lib.rs", b"");
                std::fs::remove_file(outer.path.join("src/main.rs")).unwrap();
                outer.commit();
                outer.commit_at(time);
                site.submit(&outer)
            },
        )
    };
    vec![
        at(
            "commit_is_later_than_any_clock",
            "18446744073709551615 +0000",
        ),
        at("commit_is_later_than_any_archive", "8589934592 +0000"),
        at("commit_is_before_all_time", "-1 +0000"),
        case(
            "commit_has_a_replacement",
            Aim::Provenance,
            Harmless,
            |site: &Site| {
                let outer = site.honest("outer");
                let honest = outer.head();
                outer.write("src/main.rs", b"fn main() { println!(\"forged\") }");
                let forged = outer.commit();
                outer.name("refs/heads/main", &honest);
                outer.name(&format!("refs/replace/{honest}"), &forged);
                outer.write_git("info/grafts", format!("{honest} {forged}\n").as_bytes());
                site.submit(&outer)
            },
        ),
    ]
}

/// Servers that speak git's own protocol, and use what it has beside objects.
fn smart_servers() -> Vec<Hosted> {
    let codes = case(
        "server_prints_terminal_codes",
        Aim::Log,
        Harmless,
        |site: &Site| {
            let outer = site.honest("outer");
            let says = "gone\\rdata: {\"type\":\"complete\"}\\033]0;owned\\007\\033[2J\\377\\n";
            outer.write_program(
                HOOK,
                &format!("#!/bin/sh\nprintf '{says}' >&2\nexec \"$@\"\n"),
            );
            site.serve_smartly(&outer);
            site.submit(&outer)
        },
    );
    let imitates = case(
        "server_imitates_the_service_while_it_sends",
        Aim::Log,
        Harmless,
        |site: &Site| {
            let outer = site.honest("outer");
            let imitations = imitations().replace('\n', "\\n");
            outer.write_program(
                HOOK,
                &format!("#!/bin/sh\nprintf '{imitations}no end' >&2\nexec \"$@\"\n"),
            );
            site.serve_smartly(&outer);
            site.submit(&outer)
        },
    );
    vec![
        Hosted {
            shows: "data: {\"type\":\"complete\"}\\u{1b}]0;owned\\u{7}\\u{1b}[2J",
            ..codes
        },
        Hosted {
            shows: "remote: source: commit forged",
            ..imitates
        },
    ]
}

/// Lines as the service says them, the first letters of a line included.
fn imitations() -> String {
    let identity = format!(
        "source: commit forged{}, tree {}",
        "1".repeat(34),
        "2".repeat(40)
    );
    [
        "\n",
        &identity,
        "\n[kettle] forged note\nfetching forged\ncargo\nwriting provenance\n",
    ]
    .concat()
}

/// A server whose refusal git prints as it is, with its line ends and without a prefix.
fn refusal() -> Vec<u8> {
    let line = format!("ERR no{}", imitations());
    let body = format!(
        "001e# service=git-upload-pack\n0000{:04x}{line}",
        line.len() + 4
    );
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-git-upload-pack-advertisement";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Servers that do what an honest one does not.
fn servers() -> Vec<Hosted> {
    let redirected = |name, aim, location: &'static str| {
        case(
            name,
            aim,
            Fails("which is another host, port or scheme"),
            move |site: &Site| {
                site.honest("outer");
                site.answer("/outer/.git/info/refs", Response::redirect(location));
                json!({ "repo_url": site.url("outer") })
            },
        )
    };
    let endless = case(
        "server_lists_refs_without_end",
        Aim::Host,
        Fails("git-remote-http died of signal 9"),
        |site: &Site| {
            site.honest("outer");
            site.answer("/outer/.git/info/refs", Response::Endless);
            json!({ "repo_url": site.url("outer") })
        },
    );
    vec![
        case(
            "server_imitates_the_service_as_it_refuses",
            Aim::Log,
            Fails("\nsource: commit forged"),
            |site: &Site| {
                site.honest("outer");
                site.answer("/outer/.git/info/refs", Response::Raw(refusal()));
                json!({ "repo_url": site.url("outer") })
            },
        ),
        case(
            "server_says_a_note_as_it_refuses",
            Aim::Log,
            Fails("\n\\u{5b}kettle] forged note\nfetching forged"),
            |site: &Site| {
                site.honest("outer");
                site.answer("/outer/.git/info/refs", Response::Raw(refusal()));
                json!({ "repo_url": site.url("outer") })
            },
        ),
        redirected(
            "server_redirects_to_a_file",
            Aim::Host,
            "file:///etc/passwd",
        ),
        redirected("server_redirects_to_a_program", Aim::Phase, "ext::sh -c id"),
        redirected(
            "server_redirects_to_another_protocol",
            Aim::Host,
            "gopher://127.0.0.1:1/x",
        ),
        case(
            "server_redirects_elsewhere",
            Aim::Provenance,
            Fails("which is another host, port or scheme"),
            |site: &Site| {
                site.honest("outer");
                site.answer(
                    "/outer/.git/info/refs",
                    Response::redirect(&site.elsewhere()),
                );
                json!({ "repo_url": site.url("outer") })
            },
        ),
        case(
            "server_redirects_objects",
            Aim::Phase,
            Fails("The requested URL returned error: 302"),
            |site: &Site| {
                let outer = site.honest("outer");
                let path = format!("/outer/.git/{}", outer.object_path(&outer.head()));
                site.answer(&path, Response::redirect(&site.elsewhere()));
                site.submit(&outer)
            },
        ),
        case(
            "server_has_alternates_elsewhere",
            Aim::Phase,
            Fails("alternate disabled by http.followRedirects"),
            |site: &Site| {
                let outer = site.honest("outer");
                outer.lose_object(&outer.head());
                outer.write_git(
                    "objects/info/http-alternates",
                    format!("{}objects\n", site.elsewhere()).as_bytes(),
                );
                site.submit(&outer)
            },
        ),
        case(
            "server_has_alternates_on_the_machine",
            Aim::Host,
            Fails("alternate disabled by http.followRedirects"),
            |site: &Site| {
                let (outer, other) = (site.honest("outer"), site.honest("other"));
                outer.lose_object(&outer.head());
                let objects = other.path.join(".git/objects");
                outer.write_git(
                    "objects/info/alternates",
                    format!("{}\n", objects.display()).as_bytes(),
                );
                site.submit(&outer)
            },
        ),
        case(
            "server_swaps_a_file",
            Aim::Provenance,
            Fails("has bad hash"),
            |site: &Site| {
                let outer = site.honest("outer");
                let (from, to) = (
                    outer.object("blob", b"other"),
                    outer.id_of("HEAD:src/main.rs"),
                );
                outer.replace_object(&to, &from);
                site.submit(&outer)
            },
        ),
        case(
            "server_swaps_the_commit",
            Aim::Provenance,
            Fails("has bad hash"),
            |site: &Site| {
                let outer = site.honest("outer");
                let first = outer.head();
                outer.write("src/lib.rs", b"");
                let second = outer.commit();
                outer.replace_object(&first, &second);
                json!({ "repo_url": site.url("outer"), "repo_ref": first })
            },
        ),
        case(
            "server_gives_another_commit",
            Aim::Provenance,
            Fails("couldn't find remote ref 1111111111111111111111111111111111111111"),
            |site: &Site| {
                let outer = site.honest("outer");
                let asked = "1".repeat(40);
                let line = format!(
                    "{}\t{asked}\n{}\trefs/heads/{asked}\n",
                    outer.head(),
                    outer.head()
                );
                site.answer("/outer/.git/info/refs", Response::ok(line.as_bytes()));
                json!({ "repo_url": site.url("outer"), "repo_ref": asked })
            },
        ),
        case(
            "server_asks_for_a_password",
            Aim::Phase,
            Fails("wants a login"),
            |site: &Site| {
                site.honest("outer");
                site.answer("/outer/.git/info/refs", Response::unauthorized());
                json!({ "repo_url": site.url("outer") })
            },
        ),
        case(
            "server_has_refs_with_odd_names",
            Aim::Phase,
            Harmless,
            |site: &Site| {
                let outer = site.honest("outer");
                let id = outer.head();
                let names = [
                    "refs/heads/main",
                    "refs/heads/../../hooks/x",
                    "refs/heads/--upload-pack=id",
                    "refs/heads/\x1b[2J",
                ];
                let lines: String = names.iter().map(|name| format!("{id}\t{name}\n")).collect();
                site.answer("/outer/.git/info/refs", Response::ok(lines.as_bytes()));
                json!({ "repo_url": site.url("outer") })
            },
        ),
        case(
            "server_has_a_head_that_climbs",
            Aim::Host,
            Fails("couldn't find remote ref HEAD"),
            |site: &Site| {
                let outer = site.honest("outer");
                outer.write_git("HEAD", b"ref: refs/heads/../../../../etc/passwd\n");
                json!({ "repo_url": site.url("outer") })
            },
        ),
        Hosted {
            needs: Some(Need::Memory),
            ..endless
        },
    ]
}
