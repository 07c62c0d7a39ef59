package options

import (
	"encoding/json"
	"testing"
	"time"
)

// Each option of the table reaches its field, whatever type that has.
func TestEveryOptionReachesItsField(t *testing.T) {
	examples := map[*kind]string{&boolean: "1", &device: "br-x", &network: "other", &rate: "7", &days: "12d", &onDrift: "revert", &prefix: "198.51.100.0/24", &category: "AV_STB",
		&class: "none", &text: "some text", &ports: "443/tcp 1194/udp", &file: "/some/file", &oui: "02005E", &setupCode: "ABCDEFGHJKLMNPQR", &pairing: "window",
		&level: "debug", &agentless: "list", &manage: "always", &subnetChange: "restore", &addressPolicy: "static", &portPolicy: "always"}
	for i := range Table {
		opt := &Table[i]
		example, ok := examples[opt.kind]
		if !ok {
			t.Fatalf("%s.%s: no example", opt.Section, opt.Name)
		}
		o := &Options{Services: make([]Service, 1), Profiles: make([]Profile, 1)}
		if err := opt.read(o, []string{example}); err != nil {
			t.Errorf("%s.%s: %v", opt.Section, opt.Name, err)
		}
		var zero bool
		switch p := opt.field(o).(type) {
		case *string:
			zero = *p != example
		case *bool:
			zero = !*p
		case *time.Duration:
			zero = *p == 0
		case *uint32:
			zero = *p != 7
		default:
			zero = dump(o) == dump(&Options{Services: make([]Service, 1), Profiles: make([]Profile, 1)})
		}
		if zero {
			t.Errorf("%s.%s: %q did not arrive: %s", opt.Section, opt.Name, example, dump(o))
		}
		if err := opt.read(o, []string{"\x00"}); err == nil {
			t.Errorf("%s.%s takes a NUL", opt.Section, opt.Name)
		}
	}
}

func dump(o *Options) string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(b)
}
