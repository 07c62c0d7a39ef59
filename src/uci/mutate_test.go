package uci

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// carryOut does what one `uci` command would, by this package's API.
func carryOut(f *File, cmd []string) error {
	verb, arg := cmd[0], ""
	if len(cmd) > 1 {
		arg = cmd[len(cmd)-1]
	}
	if verb == "add" {
		_, err := f.Add(arg, "")
		return err
	}
	ref, value, _ := strings.Cut(arg, "=")
	parts := strings.SplitN(ref, ".", 3)
	var s *Section
	found := false
	if len(parts) > 1 {
		s, found = f.Section(parts[1])
	}
	if len(parts) == 2 {
		switch {
		case verb == "set" && value == "" || verb == "delete":
			if !found {
				return fmt.Errorf("no section %s", parts[1])
			}
			f.Delete(s)
			return nil
		case verb == "set" && found && s.Type() == value:
			return nil
		case verb == "set" && found:
			name, keeps := s.Name(), s.Anonymous() && len(s.Type()) != len(value)
			if err := f.SetType(s, value); err != nil || !keeps {
				return err
			}
			return f.Rename(s, name)
		case verb == "set":
			_, err := f.Add(value, parts[1])
			return err
		case verb == "rename" && found:
			return f.Rename(s, value)
		case verb == "reorder" && found:
			n, err := strconv.Atoi(value)
			f.Reorder(s, n)
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s: not found", ref)
	}
	switch o := parts[2]; verb {
	case "set":
		return s.Set(o, value)
	case "add_list":
		return s.AddList(o, value)
	case "del_list":
		return s.DelList(o, value)
	case "rename":
		return s.RenameOption(o, value)
	case "delete":
		if i, err := strconv.Atoi(value); err == nil && i < len(s.List(o)) {
			return s.SetList(o, slices.Delete(s.List(o), i, i+1))
		}
		if !s.Unset(o) {
			return fmt.Errorf("%s: not found", ref)
		}
		return nil
	}
	return fmt.Errorf("no command %v", cmd)
}

// safer are the mutations after which libuci reads something else than it
// meant to write. Ours are refused instead.
var safer = []string{"add_type_hostile", "rename_to_existing"}

func TestMutationsAsTheRealUCIMakesThem(t *testing.T) {
	all := load[[]mutation](t, "mutations.json")
	if len(all) < 60 {
		t.Fatalf("%d mutations", len(all))
	}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			name := strings.TrimSuffix(m.File, ".uci")
			in := read(t, m.File)
			f, err := Parse(name, in)
			if m.ExportError != nil {
				if err == nil {
					t.Error("a file that libuci refuses was read")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cmds := m.Commands
			if i := slices.IndexFunc(cmds, func(c []string) bool { return c[0] == "revert" }); i >= 0 {
				// Nothing is staged here: what is reverted was never done.
				cmds = slices.DeleteFunc(slices.Clone(cmds), func(c []string) bool {
					return c[0] == "revert" || strings.HasPrefix(c[1], cmds[i][1]+"=")
				})
			}
			// What libuci wrote is read as libuci reads it.
			theirs, err := Parse(name, []byte(m.ResultFile))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "libuci's file", theirs.Export(), []byte(m.ResultExport))
			failed := 0
			for i, cmd := range cmds {
				err := carryOut(f, cmd)
				if err != nil {
					failed++
				}
				if len(cmds) == len(m.Outcomes) && m.Outcomes[i].Exit != 0 && err == nil {
					t.Errorf("%q: done, libuci refuses it", cmd)
				}
			}
			if slices.Contains(safer, m.Name) {
				if failed == 0 {
					t.Error("not refused")
				}
				return
			}
			again, err := Parse(name, f.Bytes())
			if err != nil {
				t.Fatalf("what was written is not read: %v\n%s", err, f.Bytes())
			}
			same(t, "export", again.Export(), []byte(m.ResultExport))
			if !bytes.Equal(f.Export(), again.Export()) {
				t.Errorf("in memory it is\n%s, in the file\n%s", f.Export(), again.Export())
			}
			if !m.FileRewritten && !bytes.Equal(f.Bytes(), in) {
				t.Errorf("nothing changed, and the file is\n%q", f.Bytes())
			}
			for _, line := range bytes.Split(in, []byte("\n")) {
				if c := bytes.TrimSpace(line); bytes.HasPrefix(c, []byte("# ")) && !strings.Contains(m.File, "multiline") && !bytes.Contains(f.Bytes(), c) {
					t.Errorf("comment %q is lost", c)
				}
			}
		})
	}
}

func TestUnchangedLinesStayAsTheyAre(t *testing.T) {
	in := "# head\nconfig  host  nas\t# mine\n\toption name \"nas\"   # a name\n   option ip 10.0.0.2\n\n# tail\n"
	f, err := Parse("dhcp", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := f.Section("nas")
	if err := s.Set("ip", "10.0.0.3"); err != nil {
		t.Fatal(err)
	}
	if err := s.Set("name", "Bob's"); err != nil {
		t.Fatal(err)
	}
	n, err := f.Add("host", "hc_m02005eaa0001_1")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SetList("mac", []string{"02:00:5e:aa:00:01"}); err != nil {
		t.Fatal(err)
	}
	want := "# head\nconfig  host  nas\t# mine\n\toption name 'Bob'\\''s' # a name\n\toption ip '10.0.0.3'\n\n# tail\n" +
		"\nconfig host 'hc_m02005eaa0001_1'\n\tlist mac '02:00:5e:aa:00:01'\n"
	same(t, "file", f.Bytes(), []byte(want))
	f.Delete(n)
	f.Delete(s)
	same(t, "file", f.Bytes(), []byte("# head\n\t# mine\n\t# a name\n\n# tail\n\n"))
}

// FuzzEdit makes changes at random to any file that can be read: what is in
// memory is what is read back, unless generated names met a section's name.
func FuzzEdit(f *testing.F) {
	for _, v := range load[[]vector](f, "index.json") {
		if b := read(f, v.Name+".uci"); v.Accepted && len(b) < 2000 {
			f.Add(b, []byte{1, 0, 7, 2, 1, 3, 3, 0, 1, 4, 1, 9, 5, 0, 2, 6, 2, 0, 7, 1, 1, 8, 0, 0})
			f.Add(b, []byte{5, 1, 0, 8, 3, 1, 3, 0, 0, 4, 2, 2, 2, 1, 1, 9, 0, 1, 6, 0, 3})
		}
	}
	f.Fuzz(func(t *testing.T, in, ops []byte) {
		p, err := Parse("fuzz", in)
		if err != nil {
			return
		}
		for _, s := range p.Sections("") {
			if !writableType(s.Type()) || strings.HasPrefix(s.name, "cfg") {
				return
			}
		}
		comments := map[string]bool{}
		for _, c := range p.chunks {
			if c.comment != "" && bytes.IndexByte(c.raw, 0) < 0 {
				comments[c.comment] = true
			}
		}
		for ; len(ops) >= 3; ops = ops[3:] {
			change(t, p, ops[0], ops[1], ops[2])
			out := p.Bytes()
			again, err := Parse("fuzz", out)
			if err != nil {
				t.Fatalf("%v of %q is written as %q, which is refused: %v", ops[:3], in, out, err)
			}
			if !bytes.Equal(again.Export(), p.Export()) {
				t.Fatalf("%v of %q is written as %q, which is read as\n%s\nand not\n%s", ops[:3], in, out, again.Export(), p.Export())
			}
			for c := range comments {
				if !bytes.Contains(out, []byte(c)) {
					t.Fatalf("%v of %q is written as %q: comment %q is lost", ops[:3], in, out, c)
				}
			}
		}
	})
}

// change makes the change that three bytes stand for.
func change(t *testing.T, p *File, op, a, b byte) {
	all := p.Sections("")
	if op%10 == 0 || len(all) == 0 {
		name := ""
		if b%2 == 0 {
			name = fmt.Sprintf("n%d", a)
		}
		p.Add("thing", name) // refused where the name is taken
		return
	}
	s := all[int(a)%len(all)]
	names := []string{"zz"}
	for _, o := range s.Options() {
		names = append(names, o.Name)
	}
	name := names[int(b)%len(names)]
	value := []string{"v", "it's", "a # b", "two\nlines", "\\", " ; "}[int(b)%6]
	var err error
	switch op % 10 {
	case 1:
		err = s.Set(name, value)
	case 2:
		err = s.SetList(name, []string{value, "", value})
	case 3:
		err = s.AddList(name, value)
	case 4:
		if l := s.List(name); len(l) > 0 {
			i := int(b) % len(l)
			if bad := func(v string) bool { return !validText(v) }; !slices.ContainsFunc(l, bad) {
				err = s.SetList(name, slices.Delete(l, i, i+1))
			}
		}
	case 5:
		p.Delete(s)
	case 6:
		p.Reorder(s, int(b))
	case 7:
		s.Unset(name)
	case 8:
		p.Rename(s, fmt.Sprintf("r%d", b)) // refused where the name is taken
	case 9:
		err = p.SetType(s, fmt.Sprintf("type-%d", b))
	}
	if err != nil && validText(strings.Join(s.List(name), "")) {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range load[[]vector](f, "index.json") {
		if b := read(f, v.Name+".uci"); len(b) < 2000 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := Parse("fuzz", in)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Bytes(), in) {
			t.Fatalf("%q is written as %q", in, p.Bytes())
		}
		for _, s := range p.Sections("") {
			if !writableType(s.Type()) {
				return // libuci loses these, too
			}
		}
		export := p.Export()
		again, err := Parse("fuzz", export)
		if err != nil {
			t.Fatalf("export %q does not parse: %v", export, err)
		}
		// Empty options and sections of one name may merge once more.
		if once, err := Parse("fuzz", again.Export()); err != nil || !bytes.Equal(once.Export(), again.Export()) {
			t.Fatalf("export %q is not stable: %v", export, err)
		}
		for _, s := range p.Sections("") {
			if err := s.Set("fuzzed", "it's"); err != nil {
				t.Fatal(err)
			}
		}
		changed, err := Parse("fuzz", p.Bytes())
		if err != nil || !bytes.Equal(changed.Export(), p.Export()) {
			t.Fatalf("a change of %q is written as %q, which reads otherwise: %v", in, p.Bytes(), err)
		}
	})
}
