package uci

import "testing"

func TestSectionByIndex(t *testing.T) {
	f, err := Parse("dhcp", []byte("config host 'a'\nconfig host 'b'\nconfig host\n"))
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"@host[0]": "a", "@host[1]": "b", "@host[-3]": "a", "@host[-2]": "b"} {
		if s, ok := f.Section(ref); !ok || s.Name() != want {
			t.Errorf("%s: %v, %v", ref, s, ok)
		}
	}
	if s, ok := f.Section("@host[2]"); !ok || !s.Anonymous() {
		t.Errorf("@host[2]: %v, %v", s, ok)
	}
	for _, bad := range []string{"@host[3]", "@host[-4]", "@host[]", "@host[1", "@host", "@host[1]]", "@host[1]x", "@host[0x1]",
		"@host[ 1]", "@host[99999999999999999999]", "@", "@[", "@other[0]"} {
		if s, ok := f.Section(bad); ok {
			t.Errorf("%s: is %s", bad, s.Name())
		}
	}
}
