# The bill of materials: bill.sh says what its inputs are.

def lines($text): $text | split("\n")[] | select(. != "");

# A part of a package URL. The colon of an epoch stays.
def escaped: @uri | gsub("%3A"; ":");

# {depth, ref, name, version, licence} for each line of a tree.
def crates_of($text):
    lines($text) | capture("^(?<depth>[0-9]+)\\|(?<name>[^ ]+) v(?<version>[^ |]+)[^|]*\\|(?<licence>.*?)( \\(\\*\\))?$")
    | .depth |= tonumber
    | .ref = if .depth == 0 then "kettle-init" else "pkg:cargo/\(.name)@\(.version | escaped)" end;

# What each crate takes directly: {ref: [ref, …]}.
def edges:
    reduce crates_of($tree) as $crate ({on_the_way: [], takes: {}};
        .on_the_way = .on_the_way[:$crate.depth] + [$crate.ref]
        | .takes[$crate.ref] += []
        | if $crate.depth > 0 then .takes[.on_the_way[$crate.depth - 1]] += [$crate.ref] else . end)
    | .takes | map_values(unique);

def sha256($digest): [{alg: "SHA-256", content: $digest}];

# By name and version, as Cargo.lock has them.
def checksums: reduce (lines($crates) / " ") as [$name, $version, $sum] ({}; .["\($name) \($version)"] = $sum);

# What only runs while kettle-init is compiled is excluded from its scope.
def crates:
    checksums as $sums | [crates_of($linked).ref] as $linked
    | [crates_of($tree) | select(.depth > 0)] | unique_by(.ref)[]
    | {
        type: "library",
        "bom-ref": .ref,
        name,
        version,
        purl: .ref,
        scope: (if .ref | IN($linked[]) then "required" else "excluded" end),
        hashes: sha256($sums["\(.name) \(.version)"] // error("\(.ref) is not in Cargo.lock")),
        licenses: [{expression: (.licence | gsub("/"; " OR "))}]
    };

# {role, …} for each package of Debian that the image has something of.
def packages:
    lines($packages) / " " | select(.[0] | IN("image", "kernel", "source"))
    | . as [$role, $suite, $name, $version, $path, $size, $sum]
    | "pkg:deb/debian/\($name | escaped)@\($version | escaped)" as $purl
    | ($path | capture("_(?<arch>[^_]+)\\.deb$").arch) as $arch
    | {role: $role, component: {
        type: "library",
        "bom-ref": $purl,
        name: $name,
        version: $version,
        purl: "\($purl)?arch=\($arch)&distro=\($suite / "-" | first)",
        hashes: sha256($sum)
    }};

# The source of the firmware, as image/firmware/source.lock names it.
def firmware_source:
    [lines($firmware_lock) / " "] as $lock
    | ($lock[] | select(.[0] == "archive")) as [$_, $name, $size, $sum]
    | ($name | capture("^(?<name>[^_]+)_(?<version>.+?)\\.orig\\.")) as $source
    | {
        type: "library",
        "bom-ref": "pkg:generic/\($source.name)@\($source.version)",
        name: $source.name,
        version: $source.version,
        purl: "pkg:generic/\($source.name)@\($source.version)",
        hashes: sha256($sum),
        properties: [{name: "kettle:tree", value: first($lock[] | select(.[0] == "tree"))[1]}]
    };

# What a file was compiled from: a source as it was published, and patches, each a file of this repository with its digest.
def pedigree($source; $directory):
    {
        ancestors: [$source | del(.scope)],
        patches: [
            lines($patches) | capture("^(?<sum>[0-9a-f]{64})  (?<path>.+)$") | select(.path | startswith($directory))
            | {type: "unofficial", diff: {url: .path}, resolves: []} | del(.resolves)
        ]
    };

def source_package: first(packages | select(.role == "source").component);

# The files of the image, and the verifier's program no more than the description of it.
def outputs:
    lines($outputs) | capture("^(?<sum>[0-9a-f]{64})  (?<name>.+)$") | select(.name != "kettle")
    | {type: "file", "bom-ref": .name, name, hashes: sha256(.sum)}
    | if .name == "kettle-init" then
        .type = "application" | .version = $version
        | .licenses = [{expression: first(crates_of($tree)).licence}]
      elif .name == "firmware.fd" then
        .type = "firmware" | .pedigree = pedigree(firmware_source; "image/firmware/patches/")
      elif .name == "kernel" then
        .pedigree = pedigree(source_package; "image/kernel/patches/")
      else . end;

def of_role($role): [packages | select(.role == $role).component["bom-ref"]];

{
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {component: {type: "operating-system", "bom-ref": "image", name: "kettle-image", version: $version}},
    components: ([outputs] + [crates] + [packages.component] + [firmware_source]),
    dependencies: (
        {
            image: [outputs | select(.name | IN("kettle-init", "kernel-debian") | not)["bom-ref"]],
            "firmware.fd": [firmware_source["bom-ref"]],
            kernel: of_role("source"),
            "kernel-debian": of_role("kernel"),
            initrd: ["kettle-init"],
            "root.img": of_role("image")
        } + edges
        | to_entries | map({ref: .key, dependsOn: (.value | sort)})
    )
}
