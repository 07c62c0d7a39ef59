// Package src_test holds the project's shape: which room may import which, what
// stays out of the binary, and which versions are pinned.
package src_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "homeconf/src/"

// rooms says what each room may import of the project, beside itself.
var rooms = map[string][]string{
	"model":        {},
	"options":      {"model", "uci"},
	"wire":         {"model"},
	"rtnetlink":    {},
	"link":         {"rtnetlink"},
	"session":      {"wire", "link"},
	"inventory":    {"model"},
	"sighting":     {"model", "ubus", "rtnetlink"},
	"plan":         {"model"},
	"gateway":      {"model", "uci", "ubus", "rtnetlink"},
	"system":       {"model", "uci", "ubus", "rtnetlink"},
	"uci":          {},
	"ubus":         {},
	"calls":        {"model", "ubus"},
	"agent":        {"link", "wire", "session", "system", "options", "calls", "model"},
	"configurator": allBut("agent", "system"),
	"lab":          append(allBut(), "agent", "configurator"),
	"cmd":          append(allBut(), "agent", "configurator", "lab"),
}

// allBut are the rooms below the two daemons, but some.
func allBut(not ...string) []string {
	below := []string{"model", "options", "wire", "link", "session", "inventory", "sighting", "plan", "gateway",
		"system", "uci", "ubus", "rtnetlink", "calls"}
	return slices.DeleteFunc(below, func(r string) bool { return slices.Contains(not, r) })
}

// pure rooms do no I/O and know neither keys nor chance.
var pure = []string{"model", "plan", "wire"}

var impure = []string{"os", "os/exec", "net", "syscall", "crypto/rand", "math/rand", "math/rand/v2", "golang.org/x/sys/unix"}

// wrong says what is wrong with an import, "" if nothing.
func wrong(dir, imported string) string {
	room, _, _ := strings.Cut(dir, "/")
	may, ok := rooms[room]
	if !ok {
		return "is no room of the design"
	}
	if slices.Contains(pure, room) && slices.Contains(impure, imported) {
		return "must stay pure, and imports " + imported
	}
	target, ours := strings.CutPrefix(imported, module)
	if !ours {
		return ""
	}
	target, _, _ = strings.Cut(target, "/")
	switch {
	case dir == "cmd/homeconf" && target == "lab":
		return "is the binary, which the lab is never part of"
	case target != room && !slices.Contains(may, target):
		return "may not import " + target
	}
	return ""
}

// Imports point one way. Every file counts, whatever its build tags; tests may
// play with any room.
func TestImportsPointOneWay(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		if why := wrong(dir, ""); why != "" {
			t.Errorf("%s: src/%s %s", name, dir, why)
		}
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if why := wrong(dir, imported); why != "" {
				t.Errorf("%s: src/%s %s", name, dir, why)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("read %d files: %v", files, err)
	}
}

// The test above can fail.
func TestWrongArrows(t *testing.T) {
	for _, tt := range []struct {
		dir, imported string
		ok            bool
	}{
		{"session", module + "wire", true},
		{"wire", module + "session", false},
		{"gateway/uci", module + "gateway", true},
		{"gateway/uci", module + "uci", true},
		{"gateway", module + "system", false},
		{"link", module + "model", false},
		{"agent", module + "system/netlink", true},
		{"agent", module + "inventory", false},
		{"configurator", module + "gateway/iptables", true},
		{"configurator", module + "system", false},
		{"configurator", module + "agent", false},
		{"configurator", module + "lab", false},
		{"agent", module + "configurator", false},
		{"cmd/homeconf", module + "agent", true},
		{"cmd/homeconf", module + "lab", false},
		{"cmd/homeconf-demo", module + "lab", true},
		{"calls", module + "cmd/homeconf", false},
		{"model", "net/netip", true},
		{"model", "os", false},
		{"plan", "net", false},
		{"link", "net", true},
		{"util", "fmt", false},
		{"helpers", "fmt", false},
	} {
		if why := wrong(tt.dir, tt.imported); (why == "") != tt.ok {
			t.Errorf("src/%s importing %s: %q", tt.dir, tt.imported, why)
		}
	}
}

// What would cost megabytes, or belongs to tests only, stays out of the binary.
func TestBinaryLeavesOut(t *testing.T) {
	for _, arch := range []string{"mipsle", "amd64"} {
		cmd := exec.Command("go", "list", "-deps", "./cmd/homeconf")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		deps := strings.Fields(string(out))
		if !slices.Contains(deps, module+"calls") {
			t.Fatalf("%d dependencies, and calls is none of them", len(deps))
		}
		for _, out := range []string{"net/http", "crypto/tls", "text/template", "html/template", "testing", "go/build",
			"github.com/huin/goupnp", module + "lab"} {
			if slices.Contains(deps, out) {
				t.Errorf("%s: the binary depends on %s", arch, out)
			}
		}
	}
}

// The binary stays within the bar, which the Makefile has, as the flags.
func TestBinarySize(t *testing.T) {
	if testing.Short() {
		t.Skip("builds for mipsle")
	}
	if _, err := exec.LookPath("make"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("make is not installed")
	}
	out, err := exec.Command("make", "--no-print-directory", "-C", "..", "measure", "ARCHS=mipsle").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nmipsle ") {
		t.Fatalf("make measure: %v\n%s", err, out)
	}
	t.Logf("\n%s", out)
}

// The versions that were measured and tried are those that are built.
func TestPins(t *testing.T) {
	b, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && strings.Contains(fields[0], ".") {
			have[fields[0]] = fields[1]
		}
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			t.Errorf("go.mod: %s", strings.TrimSpace(line))
		}
	}
	for name, version := range map[string]string{
		"github.com/mdlayher/raw":        "v0.1.0",
		"github.com/mdlayher/packet":     "v1.2.0",
		"github.com/digineo/go-uci/v2":   "v2.0.0-20231120164223-60c14814b8fe",
		"github.com/coreos/go-iptables":  "v0.8.0",
		"github.com/godbus/dbus/v5":      "v5.2.4",
		"github.com/insomniacslk/dhcp":   "v0.0.0-20260901064844-234b97448fae",
		"github.com/flynn/noise":         "v1.1.0",
		"github.com/fxamacker/cbor/v2":   "v2.9.6",
		"github.com/vishvananda/netlink": "v1.3.1",
		"filippo.io/age":                 "v1.3.2",
	} {
		if have[name] != version {
			t.Errorf("go.mod has %s %q, the design pins %s", name, have[name], version)
		}
	}
}

// The top level has the agreed names and no others.
func TestTopLevel(t *testing.T) {
	agreed := []string{"src", "openwrt", "files", "luci-app", "Makefile", "go.mod", "go.sum", "LICENSE", "README.md",
		".ci", ".gitignore", ".golangci.yml"}
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = ".."
	out, err := cmd.Output()
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatalf("git ls-files: %v", err)
	case err != nil:
		t.Skipf("not a git clone that is ours to read: %v", err)
	case len(out) == 0:
		t.Fatal("git lists no file")
	}
	for name := range strings.Lines(string(out)) {
		top, _, _ := strings.Cut(path.Clean(strings.TrimSpace(name)), "/")
		if !slices.Contains(agreed, top) {
			t.Errorf("%s is not among the agreed names", top)
		}
	}
}
