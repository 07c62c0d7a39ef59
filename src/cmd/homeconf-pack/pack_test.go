package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"homeconf/src/calls"
)

func testRelease(t *testing.T) release {
	t.Helper()
	return release{root: root, version: "0.1.0-r1", arch: "mipsel_24kc", time: time.Unix(1700000000, 0).UTC(), binary: []byte("\x7fELF program")}
}

// untar lists an archive and hands its files over. It refuses all that opkg
// would pass over in silence.
func untar(t *testing.T, b []byte) (list string, files map[string]string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" {
		t.Errorf("gzip header has %v %q", z.ModTime, z.Name)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	var out strings.Builder
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Format != tar.FormatGNU || len(h.PAXRecords) > 0 || h.ModTime.Nanosecond() != 0 || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() ||
			h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
			t.Errorf("%s: opkg does not take %+v", h.Name, h)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, ".")] = string(body)
		fmt.Fprintf(&out, "%04o %d:%d %s %s\n", h.Mode, h.Uid, h.Gid, h.ModTime.UTC().Format(time.RFC3339), h.Name)
	}
	return out.String(), files
}

func TestContents(t *testing.T) {
	r := testRelease(t)
	var list strings.Builder
	owner := map[string]string{}
	for _, c := range contents {
		b, err := r.pack(c)
		if err != nil {
			t.Fatal(err)
		}
		outer, parts := untar(t, b)
		inner, files := untar(t, []byte(parts["/data.tar.gz"]))
		scripts, control := untar(t, []byte(parts["/control.tar.gz"]))
		fmt.Fprintf(&list, "%s\n%s\ndata\n%s\ncontrol\n%s\n%s\n", r.name(c), outer, inner, scripts,
			regexp.MustCompile(`Installed-Size: \d+`).ReplaceAllString(control["/control"], "Installed-Size: as checked"))
		if parts["/debian-binary"] != "2.0\n" {
			t.Errorf("debian-binary is %q", parts["/debian-binary"])
		}
		checkControl(t, control["/control"], files)
		for name, body := range files {
			if strings.HasSuffix(name, "/") {
				continue
			}
			if owner[name] != "" {
				t.Errorf("%s is in %s and in %s", name, owner[name], c.name)
			}
			owner[name] = c.name
			if name == program && body != string(r.binary) {
				t.Errorf("the program is not what was built")
			}
		}
		for line := range strings.Lines(control["/conffiles"]) {
			if _, ok := files[strings.TrimSpace(line)]; !ok || !strings.HasPrefix(line, "/etc/") {
				t.Errorf("conffile %q is not in the package", line)
			}
		}
		for name := range files {
			if strings.HasPrefix(name, "/etc/config/") && !strings.HasSuffix(name, "/") && !strings.Contains(control["/conffiles"], name+"\n") {
				t.Errorf("%s is no conffile", name)
			}
		}
	}
	golden(t, "testdata/contents.golden", list.String())
	// What lies under files/ is in a package, and nothing is forgotten.
	err := filepath.WalkDir(filepath.Join(root, "files"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(filepath.Join(root, "files"), path)
		if name := "/" + filepath.ToSlash(rel); err == nil && owner[name] == "" {
			t.Errorf("%s is in no package", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkControl holds a control file against what opkg's parser wants.
func checkControl(t *testing.T, text string, files map[string]string) {
	t.Helper()
	if !strings.HasSuffix(text, "\n") || strings.Contains(text, "\n\n") {
		t.Errorf("control ends, or breaks, where opkg takes it for another package's:\n%q", text)
	}
	fields := map[string]string{}
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, " ") {
			if last != "Description" {
				t.Errorf("%q continues %s", line, last)
			}
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || fields[name] != "" || strings.TrimSpace(value) == "" {
			t.Errorf("line %q", line)
		}
		fields[name], last = value, name
	}
	for name, want := range map[string]string{
		"Package": `^[a-z0-9][a-z0-9+.-]+$`, "Version": `^[0-9][0-9A-Za-z.~+]*-r[0-9]+$`, "Architecture": `^(all|mipsel_24kc)$`,
		"Depends": `^[a-z0-9+.-]+( \| [a-z0-9+.-]+)?(, [a-z0-9+.-]+)*$`, "Installed-Size": `^[1-9][0-9]*$`, "Description": `.`, "Section": `^net$`, "License": `^Apache-2.0$`,
	} {
		if !regexp.MustCompile(want).MatchString(fields[name]) {
			t.Errorf("%s: %q", name, fields[name])
		}
	}
	size := 0
	for _, body := range files {
		size += len(body)
	}
	if fields["Installed-Size"] != strconv.Itoa(size) {
		t.Errorf("Installed-Size %s, the files have %d bytes", fields["Installed-Size"], size)
	}
}

func TestSameBytes(t *testing.T) {
	r := testRelease(t)
	for _, c := range contents {
		a, err := r.pack(c)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.pack(c)
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: twice not the same, %v", c.name, err)
		}
	}
}

// The feed's Makefile builds the same packages.
func TestFeed(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "openwrt/homeconf/Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	block := func(name string) string {
		_, after, ok := strings.Cut(text, "define Package/"+name+"\n")
		if !ok {
			return ""
		}
		body, _, _ := strings.Cut(after, "endef")
		return body
	}
	modes := map[string]int64{"BIN": bin, "CONF": conf, "DATA": data}
	install := regexp.MustCompile(`(?m)^\t\$\(INSTALL_(BIN|CONF|DATA)\) (\S+) \$\(1\)(\S+)$`)
	for _, c := range contents {
		var have []file
		body := block(c.name + "/install")
		for _, m := range install.FindAllStringSubmatch(body, -1) {
			have = append(have, file{m[3], modes[m[1]]})
			if want := "$(HOMECONF_DIR)/files" + m[3]; m[2] != want && m[3] != program {
				t.Errorf("%s is installed from %s", m[3], m[2])
			}
			if dir := "$(INSTALL_DIR) $(1)" + filepath.Dir(m[3]) + "\n"; !strings.Contains(body, dir) {
				t.Errorf("%s: its folder is not made", m[3])
			}
		}
		if !slices.Equal(have, c.files) {
			t.Errorf("%s: the Makefile installs %v, want %v", c.name, have, c.files)
		}
		if got := strings.Fields(block(c.name + "/conffiles")); !slices.Equal(got, c.conffiles) {
			t.Errorf("%s: conffiles %v", c.name, got)
		}
		if want := "$(file <$(CURDIR)/" + c.prerm + ")\n"; block(c.name+"/prerm") != want {
			t.Errorf("%s: prerm is %q, want %q", c.name, block(c.name+"/prerm"), want)
		}
		if strings.Contains(block(c.name), "PKGARCH:=all") != c.all {
			t.Errorf("%s: PKGARCH", c.name)
		}
		for _, d := range regexp.MustCompile(`[a-z][a-z0-9-]+`).FindAllString(c.depends, -1) {
			if !regexp.MustCompile(`(?m)DEPENDS:=(.*[+: ])?` + d + `( |$)`).MatchString(block(c.name)) {
				t.Errorf("%s does not depend on %s in the feed", c.name, d)
			}
		}
	}
}

// Non-root sees what changes nothing, and no more.
func TestACL(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "files/usr/share/acl.d/homeconf.json"))
	if err != nil {
		t.Fatal(err)
	}
	var acl struct {
		Group     string                                `json:"group"`
		Access    map[string]struct{ Methods []string } `json:"access"`
		Subscribe []string                              `json:"subscribe"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&acl); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range calls.Table {
		if c.ReadOnly && c.Daemon == calls.Configurator {
			want = append(want, c.Name)
		}
	}
	slices.Sort(want)
	got := slices.Sorted(slices.Values(acl.Access["homeconf"].Methods))
	if !slices.Equal(got, want) || len(acl.Access) != 1 || acl.Group != "homeconf" {
		t.Errorf("acl.d gives %v of %d objects to %q, want %v", got, len(acl.Access), acl.Group, want)
	}
}

func TestTargets(t *testing.T) {
	for arch, want := range map[string]string{
		"x86_64":                   "GOOS=linux GOARCH=amd64 CGO_ENABLED=0",
		"aarch64_cortex-a53":       "GOOS=linux GOARCH=arm64 CGO_ENABLED=0",
		"aarch64_generic":          "GOOS=linux GOARCH=arm64 CGO_ENABLED=0",
		"arm_cortex-a7_neon-vfpv4": "GOOS=linux GOARCH=arm CGO_ENABLED=0 GOARM=7",
		"arm_arm926ej-s":           "GOOS=linux GOARCH=arm CGO_ENABLED=0 GOARM=5",
		"mipsel_24kc":              "GOOS=linux GOARCH=mipsle CGO_ENABLED=0 GOMIPS=softfloat",
		"mips_24kc":                "GOOS=linux GOARCH=mips CGO_ENABLED=0 GOMIPS=softfloat",
	} {
		got, err := targetOf(arch)
		if err != nil || strings.Join(got.env(), " ") != want {
			t.Errorf("%s: %v, %v", arch, got.env(), err)
		}
	}
	for _, arch := range []string{"", "mipsel", "amd64", "x86-64", "powerpc_8548"} {
		if _, err := targetOf(arch); err == nil || !strings.Contains(err.Error(), "mipsel_24kc") {
			t.Errorf("%q: %v", arch, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"--arch nonesuch --version 0.1.0-r1", "no architecture"},
		{"--arch x86_64 --version v1", "version"},
		{"--arch x86_64 --version 0.1.0", "version"},
		{"--arch x86_64", "version"},
		{"--arch x86_64 --version 0.1.0-r1 --epoch -5", "epoch"},
	} {
		if err := run(strings.Fields(tt.args)); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
}

// The whole, once, with the real program.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	out := t.TempDir()
	args := []string{"--arch", "x86_64", "--version", "0.1.0-r7", "--epoch", "1700000000", "--root", root, "--out", out,
		"--", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=0.1.0-r7"}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(out, "homeconf_0.1.0-r7_x86_64.ipk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(out, "homeconf_0.1.0-r7_x86_64.ipk"))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("built twice, the packages differ: %v", err)
	}
	_, parts := untar(t, first)
	_, files := untar(t, []byte(parts["/data.tar.gz"]))
	if !strings.HasPrefix(files[program], "\x7fELF") || !strings.Contains(files[program], "0.1.0-r7") {
		t.Errorf("no program of this version in it: %d bytes", len(files[program]))
	}
	if _, err := os.Stat(filepath.Join(out, "homeconf-agent_0.1.0-r7_all.ipk")); err != nil {
		t.Error(err)
	}
}
