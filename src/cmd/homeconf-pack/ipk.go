package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is one file that goes into an archive.
type entry struct {
	path string // absolute
	mode int64
	body []byte
}

// release is what all packages of one build have in common.
type release struct {
	root    string // of the project
	version string
	arch    string
	time    time.Time // of every file in the packages
	binary  []byte
}

// pack makes a package's file. The same input gives the same bytes.
func (r release) pack(c content) ([]byte, error) {
	var files []entry
	size := int64(0)
	for _, f := range c.files {
		body := r.binary
		if f.path != program {
			var err error
			if body, err = os.ReadFile(filepath.Join(r.root, "files", filepath.FromSlash(f.path))); err != nil {
				return nil, err
			}
		}
		size += int64(len(body))
		files = append(files, entry{f.path, f.mode, body})
	}
	script, err := os.ReadFile(filepath.Join(r.root, "openwrt", "homeconf", c.prerm))
	if err != nil {
		return nil, err
	}
	control := []entry{
		{"/control", data, []byte(r.control(c, size))},
		{"/postinst", bin, []byte(postinst)},
		{"/prerm", bin, []byte(prerm)},
		{"/prerm-pkg", bin, script},
	}
	if len(c.conffiles) > 0 {
		control = append(control, entry{"/conffiles", data, []byte(strings.Join(c.conffiles, "\n") + "\n")})
	}
	dataTar, err := r.archive(files, true)
	if err != nil {
		return nil, err
	}
	controlTar, err := r.archive(control, true)
	if err != nil {
		return nil, err
	}
	// opkg reads the three in one go, in OpenWrt's own order.
	return r.archive([]entry{{"/debian-binary", data, []byte("2.0\n")}, {"/data.tar.gz", data, dataTar}, {"/control.tar.gz", data, controlTar}}, false)
}

func (r release) architecture(c content) string {
	if c.all {
		return "all"
	}
	return r.arch
}

// name is a package's file name, as opkg's feeds have it.
func (r release) name(c content) string {
	return fmt.Sprintf("%s_%s_%s.ipk", c.name, r.version, r.architecture(c))
}

func (r release) control(c content, size int64) string {
	return fmt.Sprintf(`Package: %s
Version: %s
Depends: %s
License: Apache-2.0
Section: net
SourceDateEpoch: %d
Architecture: %s
Installed-Size: %d
Description:  %s
 %s
`, c.name, r.version, c.depends, r.time.Unix(), r.architecture(c), size, c.title, c.description)
}

// archive makes a compressed tar, with the folders that the files are in where
// that is asked for, sorted. opkg takes GNU's format; what it doesn't know it
// passes over in silence, file and all, so nothing here may need PAX: that means
// whole seconds and no long names.
func (r release) archive(files []entry, folders bool) ([]byte, error) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	files = slices.Clone(files)
	if folders {
		seen := map[string]bool{}
		for _, f := range slices.Clone(files) {
			for dir := path.Dir(f.path); !seen[dir]; dir = path.Dir(dir) {
				seen[dir] = true
				files = append(files, entry{path: strings.TrimSuffix(dir, "/") + "/"})
			}
		}
		slices.SortFunc(files, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	}
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "." + f.path, Mode: f.mode, Size: int64(len(f.body)), ModTime: r.time, Format: tar.FormatGNU}
		if strings.HasSuffix(f.path, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if len(h.Name) > 100 {
			return nil, fmt.Errorf("%s: a name of %d bytes, at most 100", f.path, len(h.Name))
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
