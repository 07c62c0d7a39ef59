// Command homeconf-pack makes OpenWrt packages (.ipk) of homeconf, without
// OpenWrt's SDK:
//
//	homeconf-pack --arch mipsel_24kc --version 0.1.0-r1 --epoch 1700000000 -- BUILD FLAGS
//
// What follows "--" goes to go build. The same sources, version and epoch give
// the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "homeconf-pack:", err)
		os.Exit(1)
	}
}

// opkg compares versions as Debian does, and splits at the last dash.
var versions = regexp.MustCompile(`^[0-9][0-9A-Za-z.~+]*-r[0-9]+$`)

func run(args []string) error {
	fs := flag.NewFlagSet("homeconf-pack", flag.ContinueOnError)
	arch := fs.String("arch", "", "OpenWrt's name of the `ARCHITECTURE`")
	version := fs.String("version", "", "the packages' `VERSION`, such as 0.1.0-r1")
	epoch := fs.Int64("epoch", 0, "the time of every file, in `SECONDS` since 1970")
	root := fs.String("root", ".", "the project's `FOLDER`")
	out := fs.String("out", "bin", "the `FOLDER` for the packages")
	if err := fs.Parse(args); err != nil {
		return err
	}
	t, err := targetOf(*arch)
	switch {
	case err != nil:
		return err
	case !versions.MatchString(*version):
		return fmt.Errorf("version %.40q: want one such as 0.1.0-r1", *version)
	case *epoch < 0 || *epoch > 1<<32:
		return fmt.Errorf("epoch %d: want seconds since 1970", *epoch)
	}
	binary, err := build(*root, t, fs.Args())
	if err != nil {
		return err
	}
	r := release{root: *root, version: *version, arch: *arch, time: time.Unix(*epoch, 0).UTC(), binary: binary}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	for _, c := range contents {
		b, err := r.pack(c)
		if err != nil {
			return fmt.Errorf("making the package %s: %w", c.name, err)
		}
		path := filepath.Join(*out, r.name(c))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s  %d bytes\n", path, len(b))
	}
	return nil
}

// build compiles the program for another machine.
func build(root string, t target, flags []string) (binary []byte, err error) {
	dir, err := os.MkdirTemp("", "homeconf-pack")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "homeconf")
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, "./src/cmd/homeconf")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), t.env()...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go build for %s: %w", t.goarch, err)
	}
	return os.ReadFile(path)
}
