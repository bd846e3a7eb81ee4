//! Calls a function of each library that a `-sys` crate found with pkg-config.

fn main() {
    // SAFETY: none of them has arguments, and the text has a NUL at its end.
    let (openssl, has_tls, sqlite, zlib) = unsafe {
        (
            openssl_sys::OpenSSL_version_num(),
            !openssl_sys::TLS_method().is_null(),
            libsqlite3_sys::sqlite3_libversion_number(),
            std::ffi::CStr::from_ptr(libz_sys::zlibVersion()),
        )
    };
    println!("{openssl:x} {has_tls} {sqlite} {zlib:?}");
}
