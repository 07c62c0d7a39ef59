package multicast

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const (
	vifs = `Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote
 0 eth1        1234      12         0       0 00000 0102000A 00000000
 1 br-lan         0       0      1234      12 00000 0101A8C0 00000000
 2 none           0       0         0       0 00000 00000000 00000000
`
	cache = `Group    Origin   Iif     Pkts    Bytes    Wrong Oifs
010101EF 0902000A 0         12     1234        0  1:1   
020101EF 0902000A -1         0        0        0
`
	igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"2\teth1      :     2      V3\n\t\t\t\t010101EF     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"3\tverylongdevicen:     1      V2\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
)

func TestParse(t *testing.T) {
	v, err := ParseVIFs(strings.NewReader(vifs))
	if want := []VIF{{0, "eth1"}, {1, "br-lan"}}; err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("VIFs: %v, %v", v, err)
	}
	r, err := ParseRoutes(strings.NewReader(cache))
	if err != nil || fmt.Sprint(r) != "[{239.1.1.1 10.0.2.9 0 12 [1]} {239.1.1.2 10.0.2.9 -1 0 []}]" {
		t.Errorf("routes: %v, %v", r, err)
	}
	if len(r) == 2 && (!r[0].Flowing() || r[1].Flowing()) {
		t.Errorf("flowing: %v %v, want true false", r[0].Flowing(), r[1].Flowing())
	}
	m, err := ParseMemberships(strings.NewReader(igmp))
	if err != nil || fmt.Sprint(m) != "map[eth1:[239.1.1.1 224.0.0.1] lo:[224.0.0.1] verylongdevicen:[224.0.0.1]]" {
		t.Errorf("memberships: %v, %v", m, err)
	}
}

func TestParseRefuses(t *testing.T) {
	first := func(s string) string { return s[:strings.Index(s, "\n")+1] }
	tests := []struct {
		name string
		err  error
	}{
		{"vif heading", second(ParseVIFs(strings.NewReader("nonsense\n")))},
		{"vif fields", second(ParseVIFs(strings.NewReader(first(vifs) + " 0 eth1\n")))},
		{"vif index", second(ParseVIFs(strings.NewReader(first(vifs) + "32 eth1 0 0 0 0 00000 00000000 00000000\n")))},
		{"route fields", second(ParseRoutes(strings.NewReader(first(cache) + "010101EF 0902000A 0\n")))},
		{"route group", second(ParseRoutes(strings.NewReader(first(cache) + "01EF 0902000A 0 1 1 0\n")))},
		{"route iif", second(ParseRoutes(strings.NewReader(first(cache) + "010101EF 0902000A x 1 1 0\n")))},
		{"route oif", second(ParseRoutes(strings.NewReader(first(cache) + "010101EF 0902000A 0 1 1 0 99:1\n")))},
		{"group before device", second(ParseMemberships(strings.NewReader(first(igmp) + "\t\t\t\t010101EF 1\n")))},
		{"empty line", second(ParseMemberships(strings.NewReader(first(igmp) + "\n")))},
	}
	for _, tt := range tests {
		if tt.err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzParse(f *testing.F) {
	for _, s := range []string{vifs, cache, igmp, "", "Group\n", "Idx\n1\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseVIFs(bytes.NewReader(b)); err == nil && len(v) > maxVIFs {
			t.Errorf("%d VIFs", len(v))
		}
		r, _ := ParseRoutes(bytes.NewReader(b))
		for _, e := range r {
			if len(e.Out) > maxVIFs || !e.Group.Is4() {
				t.Errorf("%+v", e)
			}
		}
		ParseMemberships(bytes.NewReader(b))
	})
}

// fake makes a proc file system of files and, for "=> " contents, links.
func fake(t *testing.T, files map[string]string) Kernel {
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(content, "=> "); link {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return New(root)
}

func TestRunningCountsOurNamespaceOnly(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"none", map[string]string{}, false},
		{"ours", map[string]string{"7/comm": "igmpproxy\n", "7/ns/net": "=> net:[1]"}, true},
		{"another namespace", map[string]string{"7/comm": "igmpproxy\n", "7/ns/net": "=> net:[2]"}, false},
		{"a zombie", map[string]string{"7/comm": "igmpproxy\n"}, false},
		{"another program", map[string]string{"7/comm": "igmpproxyx\n", "7/ns/net": "=> net:[1]"}, false},
		{"no process", map[string]string{"bus/comm": "igmpproxy\n", "bus/ns/net": "=> net:[1]"}, false},
	}
	for _, tt := range tests {
		tt.files["self/ns/net"] = "=> net:[1]"
		if got, err := fake(t, tt.files).Running("igmpproxy"); err != nil || got != tt.want {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}

func TestKernelWithoutMulticastRouting(t *testing.T) {
	k := fake(t, map[string]string{"self/net/igmp": igmp})
	if v, err := k.VIFs(); err != nil || len(v) != 0 {
		t.Errorf("VIFs: %v, %v", v, err)
	}
	if m, err := k.Memberships(); err != nil || len(m) != 3 {
		t.Errorf("memberships: %v, %v", m, err)
	}
}
