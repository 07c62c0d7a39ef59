package uci

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// File is one package's file.
type File struct {
	name     string
	chunks   []*chunk
	sections []*Section
	crlf     bool
}

// Section is one section, gathered from all the places where it stands.
type Section struct {
	f       *File
	typ     string
	name    string // "" when anonymous
	cfg     string // libuci's generated name
	line    int
	options []Option
	at      map[string]int // options by name, in sections with many
}

// Option is the value of one option in force.
type Option struct {
	Name   string
	IsList bool
	Values []string // one, unless IsList
	Line   int      // where it stands in the file, a list's first item; 0 when not yet written
}

// Parse reads a file. Its bytes are kept.
func Parse(name string, b []byte) (*File, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, len(b), MaxFile)
	}
	b = bytes.Clone(b)
	chunks, err := scan(name, b)
	if err != nil {
		return nil, err
	}
	f := &File{name: name, chunks: chunks, crlf: bytes.Contains(b, []byte("\r\n"))}
	return f, f.gather()
}

// gather computes what is in force from the statements, as libuci does. Which
// section a statement belongs to is settled when it is read: a change that
// shifts generated names must not merge or part sections in memory. (Whether
// the text still reads the same is for Edit to check.)
func (f *File) gather() error {
	f.sections = nil
	var cur *Section
	byName := map[string]*Section{}
	seen := map[*Section]bool{}
	for _, c := range f.chunks {
		for _, st := range c.stmts {
			switch st.kind {
			case kindConfig:
				s := st.sec
				if s == nil && st.name != "" {
					s = byName[st.name]
					if s != nil && s.typ != st.value {
						return &ParseError{Name: f.name, Line: st.line, Column: 1, Msg: "section of different type overwrites prior section with same name"}
					}
				}
				if s == nil {
					s = &Section{}
				}
				st.sec, cur = s, s
				if seen[s] {
					continue
				}
				seen[s] = true
				f.sections = append(f.sections, s)
				*s = Section{f: f, typ: st.value, name: st.name, cfg: generated(len(f.sections), st.value), line: st.line}
				if byName[s.Name()] == nil {
					byName[s.Name()] = s
				}
			case kindOption, kindList:
				st.sec = cur
				cur.apply(st)
			}
		}
	}
	return nil
}

// apply is one option or list statement's effect. An empty option is none, an
// empty list item is one.
func (s *Section) apply(st *stmt) {
	if !st.counts() {
		return
	}
	i := s.index(st.name)
	if i < 0 {
		s.add(Option{Name: st.name, IsList: st.kind == kindList, Values: []string{st.value}, Line: st.line})
		return
	}
	o := &s.options[i]
	if st.kind == kindOption {
		*o = Option{Name: st.name, Values: []string{st.value}, Line: st.line}
		return
	}
	o.IsList = true
	o.Values = append(o.Values, st.value)
}

// counts says whether an option or list statement has an effect.
func (st *stmt) counts() bool { return st.kind == kindList || st.value != "" }

// indexed is from how many options on a section keeps an index of them.
const indexed = 16

func (s *Section) add(o Option) {
	s.options = append(s.options, o)
	switch {
	case s.at != nil:
		s.at[o.Name] = len(s.options) - 1
	case len(s.options) == indexed:
		s.at = make(map[string]int, 2*indexed)
		for i, o := range s.options {
			s.at[o.Name] = i
		}
	}
}

func (s *Section) index(option string) int {
	if s.at != nil {
		if i, ok := s.at[option]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(s.options, func(o Option) bool { return o.Name == option })
}

// generated is the name that libuci makes for the n-th section of a file: its
// number and 16 bits of a hash of the type.
func generated(n int, typ string) string {
	h := uint32(5381)
	for i := range len(typ) {
		h = h<<5 + h + uint32(int32(int8(typ[i])))
	}
	return fmt.Sprintf("cfg%02x%04x", n, (h&0x7fffffff)%(1<<16))
}

// Name is the package's.
func (f *File) Name() string { return f.name }

// Sections lists the sections of a type in the file's order, all for "".
func (f *File) Sections(typ string) []*Section {
	if typ == "" {
		return slices.Clone(f.sections)
	}
	var out []*Section
	for _, s := range f.sections {
		if s.typ == typ {
			out = append(out, s)
		}
	}
	return out
}

// Section finds a section by its name, its generated name, or "@type[n]", where
// a negative n counts from the end.
func (f *File) Section(name string) (*Section, bool) {
	if strings.HasPrefix(name, "@") {
		return f.byIndex(name)
	}
	for _, s := range f.sections {
		if s.Name() == name {
			return s, true
		}
	}
	return nil, false
}

func (f *File) byIndex(ref string) (*Section, bool) {
	typ, rest, ok := strings.Cut(ref[1:], "[")
	rest, closed := strings.CutSuffix(rest, "]")
	n, err := strconv.Atoi(rest)
	if !ok || !closed || err != nil {
		return nil, false
	}
	all := f.Sections(typ)
	if n < 0 {
		n += len(all)
	}
	if n < 0 || n >= len(all) {
		return nil, false
	}
	return all[n], true
}

// Name is the section's name, or the one that libuci generates for it.
func (s *Section) Name() string {
	if s.name == "" {
		return s.cfg
	}
	return s.name
}

// Type is the section's type.
func (s *Section) Type() string { return s.typ }

// Anonymous says whether the section has no name of its own.
func (s *Section) Anonymous() bool { return s.name == "" }

// Line is where the section begins, from 1; 0 for one not yet written.
func (s *Section) Line() int { return s.line }

// Get is an option's value: of a list the last item.
func (s *Section) Get(option string) (string, bool) {
	i := s.index(option)
	if i < 0 || len(s.options[i].Values) == 0 {
		return "", false
	}
	v := s.options[i].Values
	return v[len(v)-1], true
}

// List is a list's items; an option counts as a list of one.
func (s *Section) List(option string) []string {
	if i := s.index(option); i >= 0 {
		return slices.Clone(s.options[i].Values)
	}
	return nil
}

// Options lists what is in force, in the order of first mention.
func (s *Section) Options() []Option {
	out := slices.Clone(s.options)
	for i := range out {
		out[i].Values = slices.Clone(out[i].Values)
	}
	return out
}

// Bytes is the file as it would be written.
func (f *File) Bytes() []byte {
	var b bytes.Buffer
	for _, c := range f.chunks {
		b.Write(c.raw)
	}
	return b.Bytes()
}

// Export is what `uci export` prints.
func (f *File) Export() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "package %s\n\n", f.name)
	for _, s := range f.sections {
		b.WriteString("config " + escape(s.typ))
		if s.name != "" {
			b.WriteString(" " + quote(s.name))
		}
		b.WriteByte('\n')
		for _, o := range s.options {
			for _, v := range o.Values {
				fmt.Fprintf(&b, "\t%s %s %s\n", word(o.IsList), o.Name, quote(v))
			}
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func word(list bool) string {
	if list {
		return "list"
	}
	return "option"
}

// Show is what `uci show` prints; extended, with generated names, as `uci -X show`.
func (f *File) Show(extended bool) []byte {
	var b bytes.Buffer
	seen := map[string]int{}
	for _, s := range f.sections {
		ref := s.Name()
		if s.name == "" && !extended {
			ref = fmt.Sprintf("@%s[%d]", s.typ, seen[s.typ])
		}
		seen[s.typ]++
		fmt.Fprintf(&b, "%s.%s=%s\n", f.name, ref, s.typ)
		for _, o := range s.options {
			quoted := make([]string, len(o.Values))
			for i, v := range o.Values {
				quoted[i] = quote(v)
			}
			fmt.Fprintf(&b, "%s.%s.%s=%s\n", f.name, ref, o.Name, strings.Join(quoted, " "))
		}
	}
	return b.Bytes()
}
