package uci

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Set makes an option a single value. An empty one unsets it, as with `uci set`.
func (s *Section) Set(option, value string) error {
	if value == "" {
		s.Unset(option)
		return nil
	}
	if i := s.index(option); i >= 0 && !s.options[i].IsList && s.options[i].Values[0] == value {
		return nil
	}
	return s.replace(option, kindOption, []string{value})
}

// SetList makes an option a list. An empty list unsets it.
func (s *Section) SetList(option string, values []string) error {
	if len(values) == 0 {
		s.Unset(option)
		return nil
	}
	if i := s.index(option); i >= 0 && s.options[i].IsList && slices.Equal(s.options[i].Values, values) {
		return nil
	}
	return s.replace(option, kindList, values)
}

// AddList adds an item; an option becomes a list.
func (s *Section) AddList(option, value string) error {
	return s.replace(option, kindList, append(s.List(option), value))
}

// DelList removes every item that has the value. An option that is no list
// stays as it is.
func (s *Section) DelList(option, value string) error {
	i := s.index(option)
	if i < 0 || !s.options[i].IsList {
		return nil
	}
	left := slices.DeleteFunc(s.List(option), func(v string) bool { return v == value })
	return s.SetList(option, left)
}

// Unset removes an option and says whether it was there.
func (s *Section) Unset(option string) bool {
	if s.index(option) < 0 {
		return false
	}
	s.f.remove(func(st *stmt) bool { return st.sec == s && st.kind != kindConfig && st.name == option })
	s.f.regather()
	return true
}

// replace writes an option anew where it is first mentioned, else at the end of
// its section.
func (s *Section) replace(option string, k kind, values []string) error {
	if !validName(option, false) {
		return fmt.Errorf("%s.%s: option name %.40q: want letters, digits and '_'", s.f.name, s.Name(), option)
	}
	for _, v := range values {
		if !validText(v) {
			return fmt.Errorf("%s.%s.%s: value holds control characters", s.f.name, s.Name(), option)
		}
	}
	f := s.f
	f.explode(func(st *stmt) bool { return st.sec == s })
	if k == kindList && s.relist(option, values) {
		f.regather()
		return nil
	}
	var fresh []*chunk
	for _, v := range values {
		fresh = append(fresh, f.newChunk(&stmt{kind: k, name: option, value: v, sec: s}))
	}
	mine := func(c *chunk) bool {
		return len(c.stmts) == 1 && c.stmts[0].sec == s && c.stmts[0].kind != kindConfig && c.stmts[0].name == option
	}
	at := slices.IndexFunc(f.chunks, func(c *chunk) bool { return mine(c) && c.stmts[0].counts() })
	if at >= 0 {
		fresh[0].comment, f.chunks[at].comment = f.chunks[at].comment, ""
		f.render(fresh[0])
	} else {
		at = 1 + lastIndex(f.chunks, func(c *chunk) bool { return len(c.stmts) == 1 && c.stmts[0].sec == s })
	}
	f.endLine(at)
	f.chunks = slices.Insert(f.chunks, at, fresh...)
	keep := map[*chunk]bool{}
	for _, c := range fresh {
		keep[c] = true
	}
	f.drop(func(c *chunk) bool { return mine(c) && !keep[c] })
	f.regather()
	return nil
}

// Add makes a section at the file's end; name "" makes an anonymous one.
func (f *File) Add(typ, name string) (*Section, error) {
	if !writableType(typ) {
		return nil, fmt.Errorf("%s: section type %.40q: want printable characters without quotes", f.name, typ)
	}
	if name != "" {
		if !validName(name, false) {
			return nil, fmt.Errorf("%s: section name %.40q: want letters, digits and '_'", f.name, name)
		}
		if _, taken := f.Section(name); taken {
			return nil, fmt.Errorf("%s: there is a section %s already", f.name, name)
		}
	}
	f.endLine(len(f.chunks))
	if n := len(f.chunks); n > 0 && !f.chunks[n-1].blank() {
		f.chunks = append(f.chunks, &chunk{raw: []byte(f.eol())})
	}
	st := &stmt{kind: kindConfig, name: name, value: typ}
	f.chunks = append(f.chunks, f.newChunk(st))
	f.regather()
	return st.sec, nil
}

// Delete removes a section with its options; comments stay. Of the blank lines
// before and behind it one is enough, or files would grow with every section
// that comes and goes.
func (f *File) Delete(s *Section) {
	gone := func(st *stmt) bool { return st.sec == s }
	f.explode(gone)
	seam := map[*chunk]bool{} // the chunks behind which something goes
	last := (*chunk)(nil)
	for _, c := range f.chunks {
		if len(c.stmts) == 1 && gone(c.stmts[0]) && c.comment == "" {
			seam[last] = last != nil
			continue
		}
		last = c
	}
	f.remove(gone)
	out := f.chunks[:0]
	for i, c := range f.chunks {
		if i > 0 && c.blank() && len(out) > 0 && out[len(out)-1].blank() && seam[f.chunks[i-1]] {
			continue
		}
		out = append(out, c)
	}
	f.chunks = out
	f.regather()
}

func (c *chunk) blank() bool { return len(c.stmts) == 0 && len(bytes.TrimSpace(c.raw)) == 0 }

// Rename gives a section another name.
func (f *File) Rename(s *Section, name string) error {
	if !validName(name, false) {
		return fmt.Errorf("%s: section name %.40q: want letters, digits and '_'", f.name, name)
	}
	if have, taken := f.Section(name); taken && have != s {
		return fmt.Errorf("%s: there is a section %s already", f.name, name)
	}
	return f.restate(s, func(st *stmt) { st.name = name })
}

// SetType gives a section another type.
func (f *File) SetType(s *Section, typ string) error {
	if !writableType(typ) {
		return fmt.Errorf("%s: section type %.40q: want printable characters without quotes", f.name, typ)
	}
	return f.restate(s, func(st *stmt) { st.value = typ })
}

func (f *File) restate(s *Section, change func(*stmt)) error {
	own := func(st *stmt) bool { return st.sec == s && st.kind == kindConfig }
	f.explode(own)
	for _, c := range f.chunks {
		if len(c.stmts) == 1 && own(c.stmts[0]) {
			change(c.stmts[0])
			f.render(c)
		}
	}
	f.regather()
	return nil
}

// RenameOption gives an option another name.
func (s *Section) RenameOption(from, to string) error {
	if !validName(to, false) {
		return fmt.Errorf("%s.%s: option name %.40q: want letters, digits and '_'", s.f.name, s.Name(), to)
	}
	if s.index(from) < 0 {
		return fmt.Errorf("%s.%s: no option %s", s.f.name, s.Name(), from)
	}
	own := func(st *stmt) bool { return st.sec == s && st.kind != kindConfig && st.name == from }
	s.f.explode(own)
	for _, c := range s.f.chunks {
		if len(c.stmts) == 1 && own(c.stmts[0]) {
			c.stmts[0].name = to
			s.f.render(c)
		}
	}
	s.f.regather()
	return nil
}

// Reorder moves a section to a place among all sections, from 0; a place past
// the end means last. The lines between its own go with it.
func (f *File) Reorder(s *Section, to int) {
	from := slices.Index(f.sections, s)
	if from < 0 {
		return
	}
	f.explode(func(*stmt) bool { return true })
	var moved, rest []*chunk
	var cur *Section
	for _, c := range f.chunks {
		if len(c.stmts) == 1 && c.stmts[0].kind != kindPackage {
			cur = c.stmts[0].sec
		}
		if cur == s {
			moved = append(moved, c)
		} else {
			rest = append(rest, c)
		}
	}
	f.chunks = rest
	others := slices.Delete(slices.Clone(f.sections), from, from+1)
	at := len(f.chunks)
	if to = max(to, 0); to < len(others) {
		next := others[to]
		at = slices.IndexFunc(f.chunks, func(c *chunk) bool { return len(c.stmts) == 1 && c.stmts[0].sec == next })
	}
	f.endLine(at)
	f.chunks = slices.Insert(f.chunks, at, moved...)
	f.endLine(at + len(moved))
	f.regather()
}

// regather computes anew what is in force. The statements were valid before and
// the change was checked, so it can't fail.
func (f *File) regather() {
	if err := f.gather(); err != nil {
		panic("uci: a checked change broke the file: " + err.Error())
	}
}

// explode gives every statement of the chunks concerned a chunk of its own, so
// that one can be changed without the others.
func (f *File) explode(concerned func(*stmt) bool) {
	var out []*chunk
	for _, c := range f.chunks {
		if len(c.stmts) < 2 || !slices.ContainsFunc(c.stmts, concerned) {
			out = append(out, c)
			continue
		}
		for i, st := range c.stmts {
			n := f.newChunk(st)
			if i == len(c.stmts)-1 && c.comment != "" {
				n.comment = c.comment
				f.render(n)
			}
			out = append(out, n)
		}
	}
	f.chunks = out
}

// remove takes statements out; a comment behind one stays, on a line of its own.
func (f *File) remove(gone func(*stmt) bool) {
	f.explode(gone)
	f.drop(func(c *chunk) bool { return len(c.stmts) == 1 && gone(c.stmts[0]) })
}

func (f *File) drop(gone func(*chunk) bool) {
	var out []*chunk
	for _, c := range f.chunks {
		if !gone(c) {
			out = append(out, c)
			continue
		}
		if c.comment != "" {
			out = append(out, &chunk{raw: []byte("\t" + c.comment + f.eol()), comment: c.comment})
		}
	}
	f.chunks = out
}

func (f *File) eol() string {
	if f.crlf {
		return "\r\n"
	}
	return "\n"
}

func (f *File) newChunk(st *stmt) *chunk {
	c := &chunk{stmts: []*stmt{st}, line: st.line}
	f.render(c)
	return c
}

// render writes a chunk of one statement as libuci does.
func (f *File) render(c *chunk) {
	st := c.stmts[0]
	var b strings.Builder
	switch st.kind {
	case kindPackage:
		b.WriteString("package " + quote(st.name))
	case kindConfig:
		b.WriteString("config " + escape(st.value))
		if st.name != "" {
			b.WriteString(" " + quote(st.name))
		}
	default:
		fmt.Fprintf(&b, "\t%s %s %s", word(st.kind == kindList), st.name, quote(st.value))
	}
	if c.comment != "" {
		b.WriteString(" " + c.comment)
	}
	c.raw = []byte(b.String() + f.eol())
}

// endLine makes sure that what stands before chunk i ends in a line end that
// counts, so that another line can follow.
func (f *File) endLine(i int) {
	if i == 0 || i > len(f.chunks) {
		return
	}
	c := f.chunks[i-1]
	// A NUL, or a backslash as the file's last, would glue the next line on.
	glue := bytes.IndexByte(c.raw, 0) >= 0 || bytes.HasSuffix(bytes.TrimRight(c.raw, "\r\n"), []byte{'\\'})
	if len(c.raw) == 0 || c.raw[len(c.raw)-1] == '\n' && !glue {
		return
	}
	// Behind " ;" a line end would be a command.
	if !glue && (len(c.stmts) == 0 || bytes.IndexByte(c.raw, ';') < 0) {
		c.raw = append(c.raw, f.eol()...)
		return
	}
	if len(c.stmts) == 0 {
		// What a NUL hid stays hidden, as a comment.
		text := strings.TrimRight(string(c.raw), "\r\n")
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\x00", ""), "\r", "")
		if text = strings.TrimSpace(strings.ReplaceAll(text, "\n", " ")); text != "" && text[0] != '#' {
			text = "# " + text
		}
		c.raw = []byte(text + f.eol())
		return
	}
	comment := c.comment
	c.raw = nil
	for i, st := range c.stmts {
		one := &chunk{stmts: []*stmt{st}}
		if i == len(c.stmts)-1 {
			one.comment = comment
		}
		f.render(one)
		c.raw = append(c.raw, one.raw...)
	}
}

func lastIndex(l []*chunk, is func(*chunk) bool) int {
	for i := len(l) - 1; i >= 0; i-- {
		if is(l[i]) {
			return i
		}
	}
	return -1
}
