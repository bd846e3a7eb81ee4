//! A builder in C that tries things, and writes to its output how each went.

/// Returns the source of a program that runs attempts, one line each: its name, and how it went.
pub fn attempts(attempts: &[(&str, String)]) -> String {
    let calls: String = attempts
        .iter()
        .map(|(name, call)| format!("attempt(\"{name}\", {call});\n"))
        .collect();
    format!(
        r#"#define _GNU_SOURCE
        #include <arpa/inet.h>
        #include <dirent.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <sched.h>
        #include <signal.h>
        #include <stddef.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mount.h>
        #include <sys/ptrace.h>
        #include <sys/socket.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <sys/time.h>
        #include <sys/un.h>
        #include <unistd.h>
        static FILE *out;
        static void attempt(const char *name, int worked) {{ fprintf(out, "%s: %s\n", name, worked ? "SUCCEEDED" : "contained"); fflush(out); }}
        static int opens(const char *path, int flags) {{ int fd = open(path, flags); if (fd < 0) return 0; close(fd); return 1; }}
        static int reads(const char *path) {{ char c; int fd = open(path, O_RDONLY); int n = fd < 0 ? 0 : read(fd, &c, 1) > 0; close(fd); return n; }}
        static int reaches(const char *address, int port) {{
            struct sockaddr_in a = {{ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr(address) }};
            struct timeval patience = {{ .tv_sec = 10 }};
            int s = socket(AF_INET, SOCK_STREAM, 0);
            setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
            return s >= 0 && connect(s, (struct sockaddr *)&a, sizeof a) == 0;
        }}
        static int connects(int port) {{ return reaches("127.0.0.1", port); }}
        static int connects_to(const char *path, int abstract) {{
            struct sockaddr_un a = {{ .sun_family = AF_UNIX }};
            strcpy(a.sun_path + abstract, path);
            int s = socket(AF_UNIX, SOCK_STREAM, 0);
            return s >= 0 && connect(s, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + strlen(path) + abstract) == 0;
        }}
        static int strangers(void) {{
            DIR *d = opendir("/proc"); struct dirent *e; int n = 0;
            while ((e = readdir(d))) n += atoi(e->d_name) > 0 && atoi(e->d_name) != getpid();
            return n;
        }}
        int main(void) {{ out = fopen(getenv("out"), "w"); {calls} fclose(out); return 0; }}"#
    )
}

/// Returns the output in which no attempt worked.
pub fn all_contained(all: &[(&str, String)]) -> String {
    all.iter()
        .map(|(name, _)| format!("{name}: contained\n"))
        .collect()
}
