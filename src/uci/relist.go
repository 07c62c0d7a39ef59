package uci

import "slices"

// relist turns one list into another by changing only the lines that differ.
// False: it isn't written as one list in one place.
func (s *Section) relist(option string, values []string) bool {
	i := s.index(option)
	if i < 0 || !s.options[i].IsList {
		return false
	}
	f, old := s.f, s.options[i].Values
	var at []int
	between := false
	for i, c := range f.chunks {
		if len(c.stmts) != 1 || c.stmts[0].sec != s {
			continue
		}
		switch st := c.stmts[0]; {
		case st.kind == kindConfig || st.name != option:
			between = len(at) > 0
		case st.kind != kindList || between:
			return false
		default:
			at = append(at, i)
		}
	}
	if len(at) != len(old) {
		return false
	}
	head := 0
	for head < min(len(old), len(values)) && old[head] == values[head] {
		head++
	}
	tail := 0
	for tail < min(len(old), len(values))-head && old[len(old)-1-tail] == values[len(values)-1-tail] {
		tail++
	}
	at, values = at[head:len(at)-tail], values[head:len(values)-tail]
	next := s.after(option, head)
	for len(at) > 0 && len(values) > 0 {
		c := f.chunks[at[0]]
		c.stmts[0].value = values[0]
		f.render(c)
		next = at[0] + 1
		at, values = at[1:], values[1:]
	}
	gone := map[*chunk]bool{}
	for _, i := range at {
		gone[f.chunks[i]] = true
	}
	if len(values) > 0 {
		var fresh []*chunk
		for _, v := range values {
			fresh = append(fresh, f.newChunk(&stmt{kind: kindList, name: option, value: v, sec: s}))
		}
		f.endLine(next)
		f.chunks = slices.Insert(f.chunks, next, fresh...)
	}
	f.drop(func(c *chunk) bool { return gone[c] })
	return true
}

// after is the place behind the n-th line of a list, before the first for 0.
func (s *Section) after(option string, n int) int {
	for i, c := range s.f.chunks {
		if len(c.stmts) == 1 && c.stmts[0].sec == s && c.stmts[0].kind == kindList && c.stmts[0].name == option {
			if n == 0 {
				return i
			}
			if n--; n == 0 {
				return i + 1
			}
		}
	}
	return len(s.f.chunks)
}
