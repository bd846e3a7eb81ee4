//! Starts the image as a domain of libvirt (`--launch libvirt:URI`).
//!
//! * In: the image, at the same path on libvirt's host; the size of the machine.
//! * Out: a transient domain of the template `libvirt.xml` (`image/` links to it), and its address.
//! * Never: a definition that stays in libvirt, or a domain that outlives `kettle`.
//!
//! virsh reads its commands from a pipe: it creates the domain with `--autodestroy`, and stays. When
//! the pipe is closed, by `kettle` or by its death, virsh ends, and libvirt destroys the domain.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Directory, HostKind, Image, Machine, MachineError, Process, Shape};

/// libvirt's client.
const VIRSH: &str = "virsh";

/// The definition of a machine. Words between two `@` are replaced.
const TEMPLATE: &str = include_str!("libvirt.xml");

/// The element that asks for SEV-SNP, and its end.
const LAUNCH_SECURITY: (&str, &str) = ("<launchSecurity", "</launchSecurity>");

/// The processor that the launch measurement covers, and what a machine without one gets.
const CPU: (&str, &str) = ("<cpu", "</cpu>");

/// The file of the definition, in the directory of temporary files.
const DEFINITION: &str = "domain.xml";

/// How often libvirt is asked for the address of a machine that starts: each time is two processes.
const ADDRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Where libvirt can learn the address of a machine from: its own DHCP server, or the neighbour
/// table of its host.
const ADDRESS_SOURCES: [&str; 2] = ["lease", "arp"];

/// Starts the machine, and waits for its address.
///
/// # Errors
/// virsh cannot be started, libvirt refuses the definition, or the machine has no address within
/// `patience`.
pub fn start(
    uri: &str,
    image: &Image,
    shape: Shape,
    patience: Duration,
) -> Result<Machine, MachineError> {
    // libvirt's QEMU runs as another user, and has to read the page of kernel hashes.
    let directory = Directory::new(0o755)?;
    let name = super::random_name()?;
    let kind = host_kind(uri)?;
    let definition = definition(&name, kind, image, shape, &directory)?;
    directory.write(DEFINITION, definition.as_bytes())?;
    let mut process = create(uri, directory)?;
    let begun = Instant::now();
    loop {
        process.check()?;
        if let Some(address) = address(uri, &name)? {
            return Ok(Machine::new(format!("https://{address}"), process));
        }
        let last_lines = process.last_lines();
        if last_lines.contains("error:") && virsh(uri, &["domstate", &name])?.is_none() {
            return Err(MachineError::Libvirt { last_lines });
        }
        if begun.elapsed() >= patience {
            return Err(MachineError::NoAddress {
                program: VIRSH.to_owned(),
                seconds: patience.as_secs(),
            });
        }
        thread::sleep(ADDRESS_INTERVAL);
    }
}

/// Starts the virsh that creates the domain and keeps its connection.
fn create(uri: &str, directory: Directory) -> Result<Process, MachineError> {
    let log = directory.log()?;
    let spawned = client(uri)
        .current_dir(&directory.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let mut process = Process {
        program: VIRSH.to_owned(),
        child: spawned.map_err(MachineError::start(VIRSH))?,
        ends_with_input: true,
        directory: Some(directory),
    };
    let command = format!("create {DEFINITION} --autodestroy\n");
    let written = match &mut process.child.stdin {
        Some(input) => input.write_all(command.as_bytes()),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    // A virsh that has ended already is found by its status, with what it said.
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(MachineError::start(VIRSH)(error));
    }
    Ok(process)
}

/// Returns virsh, connected to this libvirt. Its words are read, so they are not translated.
fn client(uri: &str) -> Command {
    let mut command = Command::new(VIRSH);
    command
        .args(["--quiet", "--connect", uri])
        .env("LC_ALL", "C");
    command
}

/// Runs one command of virsh. Returns what it printed, or nothing where it failed.
fn virsh(uri: &str, arguments: &[&str]) -> Result<Option<String>, MachineError> {
    let output = client(uri).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(MachineError::start(VIRSH))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(output.status.success().then_some(printed))
}

/// Asks libvirt what machines of its host run on.
fn host_kind(uri: &str) -> Result<HostKind, MachineError> {
    let arguments = ["domcapabilities", "--machine", "q35", "--virttype", "kvm"];
    Ok(match virsh(uri, &arguments)? {
        Some(capabilities) if capabilities.contains("<value>sev-snp</value>") => HostKind::SevSnp,
        Some(_) => HostKind::Kvm,
        None => HostKind::Emulation,
    })
}

fn address(uri: &str, name: &str) -> Result<Option<String>, MachineError> {
    for source in ADDRESS_SOURCES {
        let printed = virsh(uri, &["domifaddr", name, "--source", source])?;
        if let Some(found) = printed.as_deref().and_then(ipv4_address) {
            return Ok(Some(found.to_owned()));
        }
    }
    Ok(None)
}

/// Finds the first IPv4 address in the table of `virsh domifaddr`: name, MAC, protocol, address.
fn ipv4_address(table: &str) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.by_ref().find(|word| *word == "ipv4")?;
        let address = words.next()?;
        Some(address.split('/').next().unwrap_or(address))
    })
}

/// Fills in the template. A host without SEV-SNP gets the page of kernel hashes by an option of QEMU.
fn definition(
    name: &str,
    kind: HostKind,
    image: &Image,
    shape: Shape,
    directory: &Directory,
) -> Result<String, MachineError> {
    let path = |path: &std::path::Path| path.display().to_string();
    let mut text = TEMPLATE.to_owned();
    for (word, value) in [
        ("@NAME@", name.to_owned()),
        ("@MEMORY_MIB@", shape.memory_mib.to_string()),
        ("@VCPUS@", shape.vcpus.to_string()),
        ("@FIRMWARE@", path(&image.firmware)),
        ("@KERNEL@", path(&image.kernel)),
        ("@INITRD@", path(&image.initrd)),
        ("@ROOT@", path(&image.root)),
        ("@CMDLINE@", image.command_line.clone()),
    ] {
        text = text.replace(word, &escaped(&value));
    }
    if kind == HostKind::SevSnp {
        return Ok(text);
    }
    let page = image.kernel_hashes()?;
    let file = directory.write("kernel-hashes", &page.bytes)?;
    let file = path(&file).replace(',', ",,");
    let loader = escaped(&format!(
        "loader,file={file},addr={:#x},force-raw=on",
        page.address
    ));
    let command_line = format!(
        "<commandline xmlns=\"http://libvirt.org/schemas/domain/qemu/1.0\">\
         <arg value=\"-device\"/><arg value=\"{loader}\"/></commandline>"
    );
    text = replaced(&text, LAUNCH_SECURITY, &command_line);
    text = replaced(&text, CPU, "<cpu mode=\"maximum\"/>");
    if kind == HostKind::Emulation {
        text = text.replace("<domain type=\"kvm\"", "<domain type=\"qemu\"");
    }
    Ok(text)
}

/// Replaces an element of the template, from where it begins to the end of its closing tag.
fn replaced(text: &str, (start, end): (&str, &str), with: &str) -> String {
    let Some((before, rest)) = text.split_once(start) else {
        return text.to_owned();
    };
    let after = rest.split_once(end).map_or("", |(_, after)| after);
    format!("{before}{with}{after}")
}

/// Escapes a value for the text or an attribute of XML.
fn escaped(value: &str) -> String {
    value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_what_is_replaced_exactly_once() {
        for word in [
            "@NAME@",
            "@MEMORY_MIB@",
            "@VCPUS@",
            "@FIRMWARE@",
            "@KERNEL@",
            "@INITRD@",
            "@ROOT@",
            "@CMDLINE@",
            LAUNCH_SECURITY.0,
            LAUNCH_SECURITY.1,
            CPU.0,
            CPU.1,
            "<domain type=\"kvm\"",
        ] {
            assert_eq!(TEMPLATE.matches(word).count(), 1, "{word}");
        }
    }

    #[test]
    fn the_address_is_the_first_of_ipv4() {
        let table = " vnet0  52:54:00:00:00:01  ipv6  fe80::1/64\n \
                     vnet0  52:54:00:00:00:01  ipv4  192.0.2.7/24\n";
        assert_eq!(ipv4_address(table), Some("192.0.2.7"));
        assert_eq!(ipv4_address("\n"), None);
        assert_eq!(ipv4_address(" vnet0  52:54:00:00:00:01  ipv4\n"), None);
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(escaped("a&<b>\"c"), "a&amp;&lt;b&gt;&quot;c");
    }

    #[test]
    fn one_element_is_replaced() {
        let text = "<a/><cpu mode=\"x\">\n<model/></cpu><b/>";
        assert_eq!(replaced(text, CPU, "<c/>"), "<a/><c/><b/>");
    }
}
