package uci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gouci "github.com/digineo/go-uci/v2"
)

// misread are the files that go-uci loads and takes for something else than
// libuci does, whose reading is recorded beside them.
var misread = map[string]string{
	"semicolon_bare_at_eol": "a ';' glued to a word is no part of the value",
	"separators":            "a vertical tab and a form feed separate words",
}

// Where go-uci can read a file, a Tree says the same of it.
func TestTreeAgreesWithGoUCI(t *testing.T) {
	read := 0
	for _, v := range load[[]vector](t, "index.json") {
		if !v.Accepted {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			dir := t.TempDir()
			in, err := os.ReadFile(filepath.Join("testdata", v.Name+".uci"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, v.Name), in, 0o644); err != nil {
				t.Fatal(err)
			}
			theirs := gouci.NewTree(dir)
			if err := theirs.LoadConfig(v.Name, false); err != nil {
				t.Logf("go-uci can't read it: %v", err)
				return
			}
			ours := NewTree(Dir{Path: dir})
			if err := ours.LoadConfig(v.Name, false); err != nil {
				t.Fatal(err)
			}
			differs := differences(t, ours, theirs, v.Name)
			switch why, known := misread[v.Name]; {
			case known && len(differs) == 0:
				t.Errorf("go-uci reads it right, but is said not to: %s", why)
			case !known && len(differs) > 0:
				t.Errorf("differs:\n%s", strings.Join(differs, "\n"))
			case !known:
				read++
			}
		})
	}
	t.Logf("%d files read alike, %d misread by go-uci", read, len(misread))
	if read < 35 {
		t.Errorf("only %d files were compared", read)
	}
}

func differences(t *testing.T, ours *Tree, theirs gouci.Tree, name string) (out []string) {
	t.Helper()
	f, err := ours.dir.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Sections("") {
		a, err := ours.GetSections(name, s.Type())
		if err != nil {
			t.Fatal(err)
		}
		b, err := theirs.GetSections(name, s.Type())
		if err != nil || !slices.Equal(a, b) {
			out = append(out, "sections "+s.Type()+": "+strings.Join(a, " ")+" | "+strings.Join(b, " "))
			continue
		}
		for _, section := range a {
			here, _ := f.Section(section)
			for _, o := range here.Options() {
				av, aok := ours.Get(name, section, o.Name)
				bv, bok := theirs.Get(name, section, o.Name)
				if aok != bok || !slices.Equal(av, bv) {
					out = append(out, section+"."+o.Name+": "+strings.Join(av, "|")+" <> "+strings.Join(bv, "|"))
				}
				al, aok := ours.GetLast(name, section, o.Name)
				bl, bok := theirs.GetLast(name, section, o.Name)
				if aok != bok || al != bl {
					out = append(out, section+"."+o.Name+": last "+al+" <> "+bl)
				}
				at, aok := ours.GetBool(name, section, o.Name)
				bt, bok := theirs.GetBool(name, section, o.Name)
				if aok != bok || at != bt {
					out = append(out, section+"."+o.Name+": bool")
				}
			}
		}
	}
	return slices.Compact(out)
}

// The same calls on both trees leave files that libuci reads alike, and ours
// keeps its comments.
func TestTreeWritesWhatGoUCIWould(t *testing.T) {
	const text = "# the LAN\nconfig interface 'lan'\n\toption proto 'static' # fixed\n\tlist dns '10.0.0.1'\n\nconfig rule\n\toption in 'lan'\n\nconfig interface 'old'\n"
	var exports [2]string
	for i, make := range []func(dir string) gouci.Tree{
		func(dir string) gouci.Tree { return NewTree(Dir{Path: dir}) },
		func(dir string) gouci.Tree { return gouci.NewTree(dir) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "network")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		tree := make(dir)
		for _, err := range []error{
			tree.SetType("network", "lan", "proto", gouci.TypeOption, "dhcp"),
			tree.SetType("network", "lan", "dns", gouci.TypeList, "10.0.0.1", "10.0.0.2"),
			tree.SetType("network", "@rule[0]", "lookup", gouci.TypeOption, "100"),
			tree.AddSection("network", "lan", "interface"),
			tree.AddSection("network", "tv", "interface"),
			tree.SetType("network", "tv", "proto", gouci.TypeOption, "none"),
			tree.SetType("network", "tv", "mtu", gouci.TypeOption, "1500"),
			tree.Del("network", "tv", "mtu"),
			tree.Del("network", "tv", "nothing"),
			tree.DelSection("network", "old"),
			tree.DelSection("network", "nobody"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := tree.AddSection("network", "lan", "rule"); !errors.As(err, new(gouci.ErrSectionTypeMismatch)) {
			t.Errorf("another type: %v", err)
		}
		if err := tree.SetType("network", "nobody", "a", gouci.TypeOption, "1"); !errors.As(err, new(gouci.ErrSectionNotFound)) {
			t.Errorf("a missing section: %v", err)
		}
		if err := tree.LoadConfig("network", false); !errors.As(err, new(gouci.ErrConfigAlreadyLoaded)) {
			t.Errorf("loaded twice: %v", err)
		}
		if err := tree.Commit(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse("network", b)
		if err != nil {
			t.Fatal(err)
		}
		exports[i] = string(f.Export())
		if i == 0 && (!strings.Contains(string(b), "# the LAN\n") || !strings.Contains(string(b), "'dhcp' # fixed\n")) {
			t.Errorf("comments are lost:\n%s", b)
		}
	}
	if exports[0] != exports[1] {
		t.Errorf("ours\n%s\ngo-uci's\n%s", exports[0], exports[1])
	}
}

func TestTreeDoesBetterThanGoUCI(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	path := filepath.Join(d.Path, "dhcp")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config host 'a'\n\toption ip '1'\n\nconfig host\n\toption ip '2'\n")
	tree := NewTree(d)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(tree.SetType("dhcp", "a", "name", gouci.TypeOption, "Bob's TV"))
	if _, ok := tree.Get("dhcp", "nobody", "name"); ok {
		t.Error("a missing section was found")
	}
	if v, ok := tree.GetLast("dhcp", "a", "name"); !ok || v != "Bob's TV" {
		t.Errorf("a look at a missing section dropped the change: %q", v)
	}
	// Somebody else writes meanwhile: both changes are there afterwards.
	write("config host 'a'\n\toption ip '9'\n\nconfig host\n\toption ip '2'\n")
	must(tree.Commit())
	b, err := os.ReadFile(path)
	must(err)
	same(t, "file", b, []byte("config host 'a'\n\toption ip '9'\n\toption name 'Bob'\\''s TV'\n\nconfig host\n\toption ip '2'\n"))

	// A section without a name can't be found again in a file that changed.
	must(tree.SetType("dhcp", "@host[1]", "ip", gouci.TypeOption, "3"))
	write("config host\n\toption ip '7'\n\nconfig host\n\toption ip '8'\n")
	if err := tree.Commit(); err == nil {
		t.Error("a nameless section was changed in another file than was looked at")
	}
	tree.Revert("dhcp")
	must(tree.Commit())
	b, err = os.ReadFile(path)
	must(err)
	same(t, "file", b, []byte("config host\n\toption ip '7'\n\nconfig host\n\toption ip '8'\n"))

	for what, err := range map[string]error{
		"two values":        tree.SetType("dhcp", "@host[0]", "ip", gouci.TypeOption, "1", "2"),
		"no value":          tree.SetType("dhcp", "@host[0]", "ip", gouci.TypeOption),
		"control character": tree.SetType("dhcp", "@host[0]", "ip", gouci.TypeOption, "a\x07"),
		"bad name":          tree.SetType("dhcp", "@host[0]", "i-p", gouci.TypeOption, "1"),
		"bad section":       tree.AddSection("dhcp", "a-b", "host"),
	} {
		if err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if _, err := tree.GetSections("missing", "host"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	must(tree.AddSection("new", "", "host"))
	must(tree.AddSection("new", "", "host"))
	must(tree.Commit())
	if names, err := tree.GetSections("new", "host"); err != nil || !slices.Equal(names, []string{"@host[0]", "@host[1]"}) {
		t.Errorf("sections %v, %v", names, err)
	}
}
