package uci

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func parse(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse("p", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAListChangesOnlyTheLinesThatDiffer(t *testing.T) {
	const head = "config a 'x'\n"
	for _, c := range []struct {
		name, in string
		set      []string
		want     string
	}{
		{"one in the middle goes", "list l  a # A\n  list l \"b\"\n\tlist l 'c' # C\n", []string{"a", "c"}, "list l  a # A\n\tlist l 'c' # C\n"},
		{"its comment stays", "list l a\nlist l b # why\nlist l c\n", []string{"a", "c"}, "list l a\n\t# why\nlist l c\n"},
		{"one comes last", "list l a\nlist l b\n# end\n", []string{"a", "b", "c"}, "list l a\nlist l b\n\tlist l 'c'\n# end\n"},
		{"one comes first", "option o 1\nlist l a\n", []string{"z", "a"}, "option o 1\n\tlist l 'z'\nlist l a\n"},
		{"one changes", "list l a\nlist l b # B\nlist l c\n", []string{"a", "x", "c"}, "list l a\n\tlist l 'x' # B\nlist l c\n"},
		{"one becomes two", "list l a\nlist l b\nlist l c\n", []string{"a", "x", "y", "c"}, "list l a\n\tlist l 'x'\n\tlist l 'y'\nlist l c\n"},
		{"equal items", "list l a\nlist l a\nlist l a\n", []string{"a"}, "list l a\n"},
		{"the same", "list l a\nlist l b", []string{"a", "b"}, "list l a\nlist l b"},
		{"no line end", "list l a", []string{"a", "b"}, "list l a\n\tlist l 'b'\n"},
		{"a backslash at the end", "list l a\\", []string{"a", "b"}, "\tlist l 'a'\n\tlist l 'b'\n"},
		{"scattered, the first goes: the place stays", "list l a\noption o 1\nlist l b\n", []string{"b"}, "\tlist l 'b'\noption o 1\n"},
		{"an option becomes a list", "option l a # A\noption o 1\n", []string{"a", "b"}, "\tlist l 'a' # A\n\tlist l 'b'\noption o 1\n"},
		{"several on a line", "list l 'a'; list l 'b'\noption o 1\n", []string{"a"}, "\tlist l 'a'\noption o 1\n"},
		{"CRLF", "list l a\r\n", []string{"a", "b"}, "list l a\r\n\tlist l 'b'\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parse(t, head+c.in)
			s, _ := f.Section("x")
			if err := s.SetList("l", c.set); err != nil {
				t.Fatal(err)
			}
			same(t, "text", f.Bytes(), []byte(head+c.want))
			same(t, "what is read back", parse(t, string(f.Bytes())).Export(), f.Export())
		})
	}
}

func TestAnEmptyOptionGivesNoPlace(t *testing.T) {
	f := parse(t, "config a 'x'\n\toption o ''\n\toption p '1'\n")
	s, _ := f.Section("x")
	if err := s.Set("o", "2"); err != nil {
		t.Fatal(err)
	}
	// libuci never stored the empty one: o is new, and new goes last.
	same(t, "text", f.Bytes(), []byte("config a 'x'\n\toption p '1'\n\toption o '2'\n"))
}

func TestSectionsThatComeAndGoLeaveNothing(t *testing.T) {
	f := parse(t, "config a 'keep'\n\toption o '1'\n")
	size := 0
	for i := range 50 {
		s, err := f.Add("host", fmt.Sprintf("h%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Set("ip", "10.0.0.2"); err != nil {
			t.Fatal(err)
		}
		if old, ok := f.Section(fmt.Sprintf("h%d", i-2)); ok {
			f.Delete(old)
		}
		if i == 10 {
			size = len(f.Bytes())
		}
	}
	if got := len(f.Bytes()); got > size+len("00") { // the names are longer, two sections are left
		t.Errorf("%d bytes after 10, %d after 50:\n%s", size, got, f.Bytes())
	}
}

// Deleting shifts generated names. Where one then meets a section that is named
// like it, libuci would merge or refuse: nothing may panic, nothing be written.
func TestGeneratedNamesThatMeetANamedSection(t *testing.T) {
	for name, text := range map[string]string{
		"of another type": "config other\nconfig thing\n\toption a '1'\nconfig foo 'cfg01ef3f'\n\toption b '2'\n",
		"of its type":     "config other\nconfig thing\n\toption a '1'\nconfig thing 'cfg01ef3f'\n\toption b '2'\n",
		"merged so far":   "config other\nconfig thing\n\toption a '1'\nconfig thing 'cfg02ef3f'\n\toption b '2'\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := Dir{Path: t.TempDir()}
			path := d.Path + "/p"
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			changed, err := d.Edit(t.Context(), "p", func(f *File) error {
				f.Delete(f.Sections("other")[0])
				return nil
			})
			if err == nil || changed {
				t.Errorf("changed %v, %v", changed, err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != text {
				t.Errorf("the file is %q, %v", b, err)
			}
		})
	}
}

func TestErrorsPointToTheLine(t *testing.T) {
	for text, at := range map[string][2]int{
		"config a\n\toption b c d\n":                   {2, 0},
		"config a 'x'\n\toption b 'open\n\noption c\n": {2, 11},
		"config a \"x\n":                               {1, 10},
		"config a\nbad":                                {2, 1},
		"config a\n  bad":                              {2, 3},
		"config a\n\toption b 'x\ny' z\n":              {3, 0},
		"\xef\xbb\xbfconfig a\n":                       {1, 1},
	} {
		_, err := Parse("p", []byte(text))
		var e *ParseError
		if !errors.As(err, &e) || e.Line != at[0] || at[1] > 0 && e.Column != at[1] {
			t.Errorf("%q: %v, want line %d, column %d", text, err, at[0], at[1])
		}
	}
}

func TestLinesOfOptions(t *testing.T) {
	f := parse(t, "# head\nconfig a 'x'\n\toption b 'two\nlines'\n\n\tlist l 1\n\tlist l '2'; option c 3\n")
	s, _ := f.Section("x")
	got := fmt.Sprint(s.Line())
	for _, o := range s.Options() {
		got += fmt.Sprintf(" %s:%d", o.Name, o.Line)
	}
	if got != "2 b:3 l:6 c:7" {
		t.Errorf("lines %s", got)
	}
}

// The cost of a file grows with its size only.
func TestCostIsBounded(t *testing.T) {
	many := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < MaxFile/4; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"list items":       "c a x\n" + strings.Repeat("l a b\n", 50000),
		"sections":         many("c a s%d\n"),
		"nameless":         strings.Repeat("c a\n", 60000),
		"options":          "c a x\n" + many("o s%d b\n"),
		"one line":         "c a x\n" + strings.Repeat("o a 'b' ;", 30000) + "o a b\n",
		"joined lines":     "c a x\no a b" + strings.Repeat("\\\nx", 80000) + "\n",
		"NUL":              "c a x\n" + strings.Repeat("#\x00\n", 80000) + "\n",
		"one merging name": strings.Repeat("c a x\n", 50000),
		"comments":         "c a x\n" + strings.Repeat("#\n", 120000),
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			f, err := Parse("p", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if s, ok := f.Section("@[0]"); ok {
				if err := s.AddList("zz", "1"); err != nil {
					t.Fatal(err)
				}
			}
			// Some 20 to 200 ms; what is quadratic takes minutes.
			if d := time.Since(begin); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}
