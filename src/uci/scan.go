package uci

import (
	"bytes"
	"fmt"
	"strings"
)

// MaxFile is the longest file that is read. The largest that OpenWrt ships has
// some 20 KB.
const MaxFile = 1 << 20

// ParseError says where a file breaks UCI's grammar.
type ParseError struct {
	Name         string // of the package
	Line, Column int    // from 1; the column in bytes
	Msg          string
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Name, e.Line, e.Column, e.Msg)
}

type kind uint8

const (
	kindPackage kind = iota
	kindConfig
	kindOption
	kindList
)

// stmt is one statement. A chunk of lines may hold several.
type stmt struct {
	kind  kind
	name  string // of the option; of the section, "" when anonymous
	value string // of the option; the section's type
	line  int
	sec   *Section // that a config statement opens, or the others belong to
}

// chunk is a run of whole lines: the statements that begin on the first one,
// and the lines that their quotes and backslashes run on to. One without a
// statement is a comment or blank.
type chunk struct {
	raw     []byte
	stmts   []*stmt
	comment string // behind the last statement, from '#' on
	line    int
}

// scanner follows libuci's line buffer byte for byte (libuci, file.c), for what
// it makes of odd input can't be told from any grammar: a ';' glued to a plain
// word ends the line, an open quote runs on, a NUL glues the next line on.
type scanner struct {
	name    string
	in      []byte
	at      int // of in, read up to here
	line    int
	base    int    // where in buf the current line begins
	buf     []byte // ends in a NUL that counts as a character
	pos     int
	filled  int
	comment string
	opened  bool // a section was opened
}

func (s *scanner) fail(msg string) { s.failAt(s.line, s.column(), msg) }

func (s *scanner) failAt(line, column int, msg string) {
	panic(&ParseError{Name: s.name, Line: max(line, 1), Column: column, Msg: msg})
}

// column is where pos stands in its line, from 1.
func (s *scanner) column() int { return max(s.pos-s.base, 0) + 1 }

// char is the character at i. Past the buffer's end it is NUL.
func (s *scanner) char(i int) byte {
	if i >= len(s.buf) {
		return 0
	}
	return s.buf[i]
}

func (s *scanner) cur() byte { return s.char(s.pos) }

// getln puts the next line into the buffer at offset. A NUL in a line hides the
// rest of it, line end and all, so the next line comes behind it; a line that
// begins with one is empty.
func (s *scanner) getln(offset int) {
	s.buf = append(s.buf[:offset], 0)
	s.filled, s.base = offset, offset
	for s.at < len(s.in) {
		line := s.in[s.at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		s.at += len(line)
		s.line++
		if i := bytes.IndexByte(line, 0); i >= 0 {
			line = line[:i]
		}
		if len(line) == 0 {
			return
		}
		s.buf = append(append(s.buf[:len(s.buf)-1], line...), 0)
		s.filled = len(s.buf) - 1
		if line[len(line)-1] == '\n' {
			return
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func (s *scanner) skipSpace() {
	for isSpace(s.cur()) {
		s.pos++
	}
}

// backslash passes the backslash; false when it joined the next line.
func (s *scanner) backslash() bool {
	s.pos++
	c := s.cur()
	if c == 0 || c == '\n' || c == '\r' && s.char(s.pos+1) == '\n' && s.char(s.pos+2) == 0 {
		s.getln(s.pos)
		return false
	}
	return true
}

func (s *scanner) copy(target *int) {
	s.buf[*target] = s.cur()
	*target++
	s.pos++
}

func (s *scanner) quoted(q byte, target *int) {
	line, column := s.line, s.column()
	s.pos++
	for {
		switch c := s.cur(); {
		case c == q:
			s.pos++
			return
		case c == 0:
			s.getln(s.pos)
			if s.cur() == 0 {
				s.failAt(line, column, "EOF with unterminated "+string(q))
			}
			continue
		case c == '\\' && q == '"':
			if !s.backslash() {
				continue
			}
			if s.cur() == 0 {
				continue
			}
		}
		s.copy(target)
	}
}

func (s *scanner) str(target *int) {
	next := true
loop:
	for {
		switch c := s.cur(); c {
		case '\'', '"':
			s.quoted(c, target)
		case '#':
			s.endAtComment()
			break loop
		case 0:
			break loop
		case ';':
			next = false
			break loop
		case '\\':
			if s.backslash() {
				s.copy(target)
			} else {
				continue
			}
		default:
			s.copy(target)
		}
		if c := s.cur(); c == 0 || isSpace(c) {
			break
		}
	}
	if s.cur() != 0 && next {
		s.pos++
	}
	s.terminate(*target)
}

// endAtComment ends the line where a comment begins, and keeps its text.
func (s *scanner) endAtComment() {
	s.comment = strings.TrimRight(s.text(s.pos), "\r\n")
	s.terminate(s.pos)
}

func (s *scanner) terminate(at int) {
	if at < len(s.buf) {
		s.buf[at] = 0
	}
}

// text is the string that begins at i, up to the NUL.
func (s *scanner) text(i int) string {
	if i >= len(s.buf) {
		return ""
	}
	b := s.buf[i:]
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	}
	return string(b)
}

// arg is the next argument's place. The text is read when the statement has
// been read, since a later line may move it.
func (s *scanner) arg(required, name, pkg bool) int {
	s.skipSpace()
	val := s.pos
	if s.cur() == ';' {
		s.terminate(s.pos)
		s.pos++
	} else {
		target := val
		s.str(&target)
	}
	text := s.text(val)
	if text == "" {
		if required {
			s.fail("insufficient arguments")
		}
	} else if name && !validName(text, pkg) {
		s.fail("invalid character in name field")
	}
	return val
}

func (s *scanner) eol() {
	s.skipSpace()
	if s.text(s.arg(false, false, false)) != "" {
		s.fail("too many arguments")
	}
}

// statement reads the next statement of the buffer; nil at its end.
func (s *scanner) statement() *stmt {
	// libuci splits the keyword off by strtok(3), at blanks and tabs only.
	i := s.pos
	for c := s.char(i); c == ' ' || c == '\t'; c = s.char(i) {
		i++
	}
	end := i
	for c := s.char(end); c != 0 && c != ' ' && c != '\t'; c = s.char(end) {
		end++
	}
	word := string(s.buf[min(i, len(s.buf)):min(end, len(s.buf))])
	if word == "" {
		return nil
	}
	if word[0] == '#' {
		s.comment = strings.TrimRight(s.text(i), "\r\n")
		return nil
	}
	st := &stmt{line: s.line}
	after := func(msg string) {
		if end+1 > s.filled {
			s.fail(msg)
		}
		s.pos = end + 1
	}
	switch word {
	case "p", "package":
		st.kind = kindPackage
		after("package without name")
		name := s.arg(true, true, true)
		s.eol()
		st.name = s.text(name)
	case "c", "config":
		st.kind = kindConfig
		after("config without name")
		typ := s.arg(true, false, false)
		if !validType(s.text(typ)) {
			s.fail("invalid character in type field")
		}
		name := s.arg(false, true, false)
		s.eol()
		st.value, st.name = s.text(typ), s.text(name)
		s.opened = true
	case "o", "option", "l", "list":
		st.kind = kindOption
		if word[0] == 'l' {
			st.kind = kindList
		}
		if !s.opened {
			s.fail("option/list command found before the first section")
		}
		after("option without name")
		name := s.arg(true, true, false)
		value := s.arg(false, false, false)
		s.eol()
		st.name, st.value = s.text(name), s.text(value)
	default:
		s.fail("invalid command")
	}
	return st
}

// scan cuts a file into chunks.
func scan(name string, in []byte) (chunks []*chunk, err error) {
	s := &scanner{name: name, in: in}
	defer func() {
		if r := recover(); r != nil {
			e, ours := r.(*ParseError)
			if !ours {
				panic(r)
			}
			chunks, err = nil, e
		}
	}()
	for s.at < len(s.in) {
		begin := s.at
		s.pos, s.comment = 0, ""
		s.getln(0)
		c := &chunk{line: s.line}
		s.skipSpace()
		for {
			st := s.statement()
			if st == nil {
				break
			}
			c.stmts = append(c.stmts, st)
		}
		c.raw, c.comment = in[begin:s.at:s.at], s.comment
		chunks = append(chunks, c)
	}
	return chunks, nil
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// validName says whether libuci takes s as the name of a section or option, or,
// with dashes, of a package.
func validName(s string, pkg bool) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && !(pkg && s[i] == '-') {
			return false
		}
	}
	return s != ""
}

// validType says whether libuci takes s as the type of a section.
func validType(s string) bool {
	for i := range len(s) {
		if s[i] < 33 || s[i] > 126 {
			return false
		}
	}
	return s != ""
}

// writableType says whether a type survives being written, which libuci does
// without quotes.
func writableType(s string) bool { return validType(s) && !strings.ContainsAny(s, `'"\#;`) }

// validText says whether libuci's set takes s as a value.
func validText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 32 && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// quote writes a value as libuci does.
func quote(s string) string { return "'" + escape(s) + "'" }

func escape(s string) string { return strings.ReplaceAll(s, "'", `'\''`) }
