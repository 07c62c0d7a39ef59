package ubus

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"homeconf/src/ubus/internal/frame"
)

// JSON is the table as libubox prints it, an int8 as a bool, but for what would
// not be JSON: inf and nan become null, and a double has the fewest digits that
// give it back.
func (t Table) JSON() []byte { return t.AppendJSON(nil) }

// AppendJSON appends the table as JSON.
func (t Table) AppendJSON(dst []byte) []byte { return appendList(dst, t.b, true) }

func appendList(dst, b []byte, named bool) []byte {
	brackets := "[]"
	if named {
		brackets = "{}"
	}
	dst = append(dst, brackets[0])
	first := true
	for a, rest, ok := frame.Next(b); ok; a, rest, ok = frame.Next(rest) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if named {
			name, _ := split(a)
			dst = append(appendQuoted(dst, string(name)), ':')
		}
		dst = Value{a}.AppendJSON(dst)
	}
	return append(dst, brackets[1])
}

// AppendJSON appends the value as JSON.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.Type() {
	case TypeTable, TypeArray:
		_, b := split(v.a)
		return appendList(dst, b, v.Type() == TypeTable)
	case TypeString:
		s, _ := v.Text()
		return appendQuoted(dst, s)
	case TypeInt8:
		b, _ := v.Bool()
		return strconv.AppendBool(dst, b)
	case TypeInt64, TypeInt32, TypeInt16:
		n, _ := v.Int()
		return strconv.AppendInt(dst, n, 10)
	case TypeDouble:
		if f, _ := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.AppendFloat(dst, f, 'g', -1, 64)
		}
	}
	return append(dst, "null"...)
}

func appendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s { // a byte that is no UTF-8 comes as U+FFFD
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\b':
			dst = append(dst, '\\', 'b')
		case r == '\f':
			dst = append(dst, '\\', 'f')
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// ParseJSON makes a table of a JSON object by libubox's rules: a bool is an int8,
// a number without point or exponent an int32, or an int64 where that is too
// small (and the nearest int64 where even that is), any other a double. Of two
// values of one name the last counts, at the place of the first.
func ParseJSON(text []byte) (Table, error) {
	p := jsonParser{in: text}
	p.space()
	if p.peek() != '{' {
		return Table{}, errors.New("JSON: want an object")
	}
	p.object()
	p.space()
	if p.err == nil && p.pos < len(p.in) {
		p.fail("something follows the object")
	}
	if p.err != nil {
		return Table{}, p.err
	}
	t := p.out.Table()
	return t, t.err
}

type jsonParser struct {
	in    []byte
	pos   int
	depth int
	out   Builder
	err   error
}

func (p *jsonParser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("JSON, at byte %d: %s", p.pos, what)
	}
	p.pos = len(p.in) // nothing more is read
}

func (p *jsonParser) peek() byte {
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return 0
}

func (p *jsonParser) space() {
	for p.pos < len(p.in) && (p.in[p.pos] == ' ' || p.in[p.pos] == '\t' || p.in[p.pos] == '\n' || p.in[p.pos] == '\r') {
		p.pos++
	}
}

// take takes one byte and the space around it.
func (p *jsonParser) take(c byte) bool {
	p.space()
	if p.peek() != c {
		return false
	}
	p.pos++
	p.space()
	return true
}

// items reads what stands between two brackets.
func (p *jsonParser) items(shut byte, item func()) {
	p.pos++
	if p.depth++; p.depth > maxDepth {
		p.fail("too many levels")
	}
	if !p.take(shut) {
		for p.err == nil {
			item()
			if p.take(shut) {
				break
			}
			if !p.take(',') {
				p.fail("want ',' or '" + string(shut) + "'")
			}
		}
	}
	p.depth--
}

// object reads the members of an object into the open table.
func (p *jsonParser) object() {
	type span struct{ from, to int }
	begin := len(p.out.b)
	var spans []span
	where := map[string]int{}
	twice := false
	p.items('}', func() {
		if p.peek() != '"' {
			p.fail("want a name")
			return
		}
		name := cString(p.quoted())
		if !p.take(':') {
			p.fail("want ':'")
			return
		}
		from := len(p.out.b)
		p.value(name)
		s := span{from, len(p.out.b)}
		if i, ok := where[name]; ok {
			spans[i], twice = s, true
			return
		}
		where[name] = len(spans)
		spans = append(spans, s)
	})
	if !twice || p.err != nil || p.out.err != nil {
		return
	}
	var kept []byte
	for _, s := range spans {
		kept = append(kept, p.out.b[s.from:s.to]...)
	}
	p.out.b = append(p.out.b[:begin], kept...)
}

func (p *jsonParser) value(name string) {
	switch c := p.peek(); {
	case c == '{':
		p.out.OpenTable(name)
		p.object()
		p.out.Close()
	case c == '[':
		p.out.OpenArray(name)
		p.items(']', func() { p.value("") })
		p.out.Close()
	case c == '"':
		p.out.String(name, p.quoted())
	case c == '-' || c >= '0' && c <= '9':
		p.number(name)
	case p.word("true"):
		p.out.Bool(name, true)
	case p.word("false"):
		p.out.Bool(name, false)
	case p.word("null"):
		p.out.Null(name)
	default:
		p.fail("want a value")
	}
	if p.out.err != nil && p.err == nil {
		p.err = p.out.err
	}
}

func (p *jsonParser) word(w string) bool {
	if len(p.in)-p.pos < len(w) || string(p.in[p.pos:p.pos+len(w)]) != w {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *jsonParser) digits() bool {
	from := p.pos
	for p.peek() >= '0' && p.peek() <= '9' {
		p.pos++
	}
	return p.pos > from
}

func (p *jsonParser) number(name string) {
	from := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	whole := true
	leadingZero := p.peek() == '0'
	first := p.pos
	ok := p.digits() && !(leadingZero && p.pos > first+1)
	if p.peek() == '.' {
		p.pos++
		whole, ok = false, p.digits() && ok
	}
	if p.peek() == 'e' || p.peek() == 'E' {
		p.pos++
		if p.peek() == '+' || p.peek() == '-' {
			p.pos++
		}
		whole, ok = false, p.digits() && ok
	}
	if !ok {
		p.fail("no number")
		return
	}
	text := string(p.in[from:p.pos])
	if whole {
		n, _ := strconv.ParseInt(text, 10, 64) // its error can only be the range's, and n is then the nearest
		p.out.Int(name, n)
		return
	}
	f, _ := strconv.ParseFloat(text, 64) // likewise
	p.out.Double(name, f)
}

func (p *jsonParser) quoted() string {
	var s []byte
	for p.pos++; p.pos < len(p.in); p.pos++ {
		switch c := p.in[p.pos]; {
		case c == '"':
			p.pos++
			return string(s)
		case c < ' ':
			p.fail("a control character in a string")
		case c != '\\':
			s = append(s, c)
		default:
			p.pos++
			s = p.escape(s)
		}
	}
	p.fail("a string without an end")
	return ""
}

// escape reads what follows a backslash and stays on its last byte.
func (p *jsonParser) escape(s []byte) []byte {
	switch c := p.peek(); c {
	case '"', '\\', '/':
		return append(s, c)
	case 'b':
		return append(s, '\b')
	case 'f':
		return append(s, '\f')
	case 'n':
		return append(s, '\n')
	case 'r':
		return append(s, '\r')
	case 't':
		return append(s, '\t')
	case 'u':
		r := p.hex()
		if utf16.IsSurrogate(r) && p.pos+2 < len(p.in) && p.in[p.pos+1] == '\\' && p.in[p.pos+2] == 'u' {
			back := p.pos
			p.pos += 2
			if pair := utf16.DecodeRune(r, p.hex()); pair != utf8.RuneError {
				return utf8.AppendRune(s, pair)
			}
			if p.err == nil {
				p.pos = back
			}
		}
		return utf8.AppendRune(s, r) // half a pair becomes U+FFFD
	}
	p.fail("an unknown escape")
	return s
}

// hex reads the four digits after a u.
func (p *jsonParser) hex() rune {
	if len(p.in)-p.pos >= 5 {
		if n, err := strconv.ParseUint(string(p.in[p.pos+1:p.pos+5]), 16, 16); err == nil {
			p.pos += 4
			return rune(n)
		}
	}
	p.fail("want four hex digits")
	return utf8.RuneError
}
