//! Has an interpreter of Python in it.

use pyo3::prelude::*;

fn main() -> PyResult<()> {
    Python::attach(|py| {
        let answer: i32 = py.eval(c"6 * 7", None, None)?.extract()?;
        println!("{answer}");
        Ok(())
    })
}
