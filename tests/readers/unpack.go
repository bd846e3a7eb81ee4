// Unpacks archives with Go's archive/tar, as its documentation shows. Reads pairs of archive and directory from standard input,
// each with a zero after it. Writes a line for each: 0, or 1 if it was refused.
package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	words := strings.Split(strings.TrimSuffix(string(input), "\x00"), "\x00")
	for at := 0; at+1 < len(words); at += 2 {
		refused := unpack(words[at], words[at+1])
		if refused != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", words[at], refused)
			fmt.Println(1)
			continue
		}
		fmt.Println(0)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func unpack(archive, directory string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	reader := tar.NewReader(unpacked)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := write(filepath.Join(directory, header.Name), header, reader); err != nil {
			return err
		}
	}
}

func write(path string, header *tar.Header, content io.Reader) error {
	if header.Typeflag != tar.TypeReg {
		return fmt.Errorf("%s is of type %q", header.Name, header.Typeflag)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, header.FileInfo().Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		return err
	}
	// The mode with all that a header can add to it.
	if err := os.Chmod(path, header.FileInfo().Mode()); err != nil {
		return err
	}
	return out.Close()
}
