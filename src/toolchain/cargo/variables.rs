//! Which variables a project may set in `[env]` of its cargo configuration.
//!
//! * In: the name of a variable.
//! * Out: whether a program of the toolchain reads it, or the appliance sets it.
//! * Never: a variable that chooses the compiler, the linker or another recorded tool, its flags, or
//!   where it finds its parts. What only build scripts and programs of the project read is theirs.
//!
//! Names are compared in upper case, whole or by their beginnings: a name of the project's own may
//! contain any word, as `CARGO_WORKSPACE_DIR` does.

use crate::provenance::link::is_linker_variable;

/// Tools, and the flags and search paths of tools. Each is also read with a platform in front or
/// behind ([`BEFORE_A_TOOL`], and `CC_x86_64_unknown_linux_gnu` for instance), as the crate `cc`
/// does.
const TOOLS: [&str; 31] = [
    "AR",
    "ARFLAGS",
    "AS",
    "ASFLAGS",
    "CC",
    "CCACHE",
    "CFLAGS",
    "CLANG",
    "CMAKE",
    "CPP",
    "CPPFLAGS",
    "CXX",
    "CXXFLAGS",
    "CXXSTDLIB",
    "DISTCC",
    "FC",
    "FFLAGS",
    "GCC",
    "LD",
    "LDFLAGS",
    "LIBCLANG",
    "LLVM",
    "MAKE",
    "NM",
    "OBJCOPY",
    "OBJDUMP",
    "PKG_CONFIG",
    "PKG_CONFIG_PATH",
    "RANLIB",
    "SCCACHE",
    "STRIP",
];

/// The beginnings that make of a tool's name that of a tool for one machine.
const BEFORE_A_TOOL: [&str; 4] = ["BUILD_", "CROSS_", "HOST_", "TARGET_"];

/// Variables that shells, the C library, git, make and compilers read, and those that the appliance
/// sets.
const NAMES: [&str; 21] = [
    "BASH_ENV",
    "CARGO",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "C_INCLUDE_PATH",
    "ENV",
    "GNUMAKEFLAGS",
    "HOME",
    "IFS",
    "INCLUDE",
    "LIB",
    "LIBRARY_PATH",
    "LINKER",
    "MAKEFILES",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "OBJC_INCLUDE_PATH",
    "PATH",
    "SHELL",
    "SOURCE_DATE_EPOCH",
];

/// The beginnings of the names of further ones. Those of cargo are its settings ("Configuration",
/// each section in upper case), and what it tells to build scripts and compilers ("Environment
/// Variables").
const STARTS: [&str; 49] = [
    "ASAN_",
    "BINDGEN_",
    "CARGO_ALIAS",
    "CARGO_BIN_",
    "CARGO_BUILD_",
    "CARGO_CACHE",
    "CARGO_CFG_",
    "CARGO_CRATE_",
    "CARGO_CREDENTIAL",
    "CARGO_DOC_",
    "CARGO_ENCODED_",
    "CARGO_FEATURE_",
    "CARGO_FUTURE",
    "CARGO_HOME",
    "CARGO_HOST",
    "CARGO_HTTP_",
    "CARGO_INCREMENTAL",
    "CARGO_INSTALL",
    "CARGO_LOG",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_",
    "CARGO_NET_",
    "CARGO_NEW_",
    "CARGO_PATCH",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_PROFILE_",
    "CARGO_REGISTR",
    "CARGO_RESOLVER",
    "CARGO_RUSTC_",
    "CARGO_SOURCE_",
    "CARGO_TARGET_",
    "CARGO_TERM_",
    "CARGO_UNSTABLE_",
    "DYLD",
    "GCC_",
    "GIT_",
    "GLIBC",
    "LD_",
    "LSAN_",
    "MALLOC",
    "MSAN_",
    "PERL5",
    "PYTHON",
    "RUST",
    "TSAN_",
    "UBSAN_",
    "XDG_",
    "__CARGO",
];

/// Returns whether a program of the toolchain reads a variable, or the appliance sets it.
pub(super) fn is_reserved(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    NAMES.contains(&upper.as_str())
        || STARTS.iter().any(|start| upper.starts_with(start))
        || is_linker_variable(&upper)
        || is_of_a_tool(&upper)
}

/// Returns whether a name is a tool's, or a tool's with a platform or something else behind it.
fn is_of_a_tool(name: &str) -> bool {
    let rest = BEFORE_A_TOOL
        .iter()
        .find_map(|before| name.strip_prefix(before))
        .unwrap_or(name);
    TOOLS.iter().any(|tool| {
        rest.strip_prefix(tool)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '-']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_reads_is_reserved() {
        for name in [
            "AR",
            "AR_x86_64-unknown-linux-gnu",
            "ASAN_OPTIONS",
            "BINDGEN_EXTRA_CLANG_ARGS",
            "CARGO",
            "CARGO_BUILD_RUSTC_WRAPPER",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_HOME",
            "CARGO_MANIFEST_DIR",
            "CARGO_NET_GIT_FETCH_WITH_CLI",
            "CARGO_REGISTRIES_OWN_INDEX",
            "CARGO_REGISTRY_TOKEN",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "CC",
            "CC_ENABLE_DEBUG_OUTPUT",
            "CC_x86_64_unknown_linux_gnu",
            "CMAKE_TOOLCHAIN_FILE",
            "CXXFLAGS_x86_64_unknown_linux_gnu",
            "GIT_SSH_COMMAND",
            "HOST_CFLAGS",
            "HOST_PKG_CONFIG_PATH",
            "LD_PRELOAD",
            "LIBCLANG_PATH",
            "LLVM_CONFIG_PATH",
            "MAKEFLAGS",
            "PATH",
            "Path",
            "PKG_CONFIG_ALL_STATIC",
            "PYTHONPATH",
            "RUSTC_BOOTSTRAP",
            "RUSTFLAGS",
            "SOURCE_DATE_EPOCH",
            "TARGET_CC",
            "TARGET_CC_x86_64",
            "ld_preload",
        ] {
            assert!(is_reserved(name), "{name}");
        }
    }

    #[test]
    fn a_name_of_the_projects_own_is_free_whatever_words_it_has() {
        for name in [
            "ARTIFACTS",
            "ASSET_PATH",
            "CARGO_MY_APP",
            "CARGO_WORKSPACE_DIR",
            "CARGO_WORKSPACE_ROOT",
            "CCTV",
            "DATABASE_PATH",
            "FEATURE_FLAGS",
            "GREETING",
            "HOME_PAGE",
            "LIBRARY_NAME",
            "MIGRATIONS_PATH",
            "MY_CC",
            "OPENSSL_DIR",
            "PROJECT_HOME",
            "SHELL_PROMPT",
            "TS_RS_EXPORT_DIR",
            "WORKSPACE_ROOT",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
    }

    #[test]
    fn the_lists_are_sorted() {
        for list in [&TOOLS[..], &NAMES, &STARTS, &BEFORE_A_TOOL] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }
}
