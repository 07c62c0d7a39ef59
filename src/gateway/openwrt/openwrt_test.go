package openwrt

import (
	"context"
	"fmt"
	"testing"
	"time"

	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// dump is what netifd of 24.10 answers, shortened: a LAN, a PPPoE WAN over a
// VLAN, and the VLAN on which the provider sends IPTV.
const dump = `{"interface":[
{"interface":"lan","up":true,"l3_device":"br-lan","device":"br-lan","proto":"static","ipv4-address":[{"address":"192.168.1.1","mask":24}],"route":[]},
{"interface":"wan","up":true,"l3_device":"pppoe-wan","device":"eth1.7","proto":"pppoe","ipv4-address":[{"address":"203.0.113.9","mask":32,"ptpaddress":"203.0.113.1"}],
 "route":[{"target":"0.0.0.0","mask":0,"nexthop":"203.0.113.1","source":"0.0.0.0/0"}]},
{"interface":"iptv","up":false,"device":"eth1.8","proto":"dhcp"},
{"interface":7},{"up":true},
{"interface":"odd","l3_device":"x","ipv4-address":[{"address":"fe80::1","mask":64},{"address":"10.0.0.1","mask":99},{"address":"10.0.0.2","mask":-1},7],"route":["x"]}
]}`

const parsed = `[{lan br-lan true [192.168.1.1/24] false} {wan pppoe-wan true [203.0.113.9/32] true} {iptv eth1.8 false [] false} {odd x false [] false}]`

// daemons publish what netifd and procd do.
func daemons(t *testing.T, path string) (c *ubus.Client, service *ubus.Published, events chan string) {
	t.Helper()
	c, err := ubus.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	answer, err := ubus.ParseJSON([]byte(dump))
	if err != nil {
		t.Fatal(err)
	}
	events = make(chan string, 10)
	if _, err = c.AddObject(t.Context(), ubus.Object{Path: "network.interface", Methods: []ubus.Method{{Name: "dump",
		Handle: func(context.Context, *ubus.Request) (ubus.Table, error) { return answer, nil }}}}); err != nil {
		t.Fatal(err)
	}
	service, err = c.AddObject(t.Context(), ubus.Object{Path: "service", Methods: []ubus.Method{{Name: "event",
		Params: []ubus.Param{{Name: "type", Type: ubus.TypeString}, {Name: "data", Type: ubus.TypeTable}},
		Handle: func(_ context.Context, r *ubus.Request) (ubus.Table, error) {
			events <- string(r.Args.JSON())
			return ubus.Table{}, nil
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	return c, service, events
}

func TestSystem(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, server *ubustest.Server) {
		other, service, events := daemons(t, server.Path)
		us, err := ubus.Dial(t.Context(), server.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer us.Close()
		s := System{Bus: us}

		list, err := s.Interfaces(t.Context())
		if got := fmt.Sprint(list); err != nil || got != parsed {
			t.Errorf("%v\n%s\nwant\n%s", err, got, parsed)
		}
		if err := s.Reload(t.Context(), "dhcp"); err != nil {
			t.Error(err)
		}
		if got, want := <-events, `{"type":"config.change","data":{"package":"dhcp"}}`; got != want {
			t.Errorf("procd was told %s", got)
		}

		ctx, cancel := context.WithCancel(t.Context())
		told, done := make(chan string, 10), make(chan error, 1)
		go func() { done <- s.Watch(ctx, func(what string) { told <- what }) }()
		hear := func(want string) {
			t.Helper()
			select {
			case got := <-told:
				if got != want {
					t.Errorf("told of %q, want %q", got, want)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("not told of %s", want)
			}
		}
		hear("service") // procd is there: what it did before was not heard
		notify := func(kind, name string) {
			t.Helper()
			if err := service.Notify(t.Context(), kind, new(ubus.Builder).String("service", name).Table()); err != nil {
				t.Error(err)
			}
		}
		notify("instance.start", "uhttpd") // none of ours
		notify("instance.start", "igmpproxy")
		hear("service igmpproxy")
		if err := other.Send(t.Context(), "network.interface", new(ubus.Builder).String("action", "ifup").String("interface", "iptv").Table()); err != nil {
			t.Error(err)
		}
		hear("network")
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Watch does not end")
		}
	})
}

// TestNobodyAnswers: a netifd that is not there is an error, in bounded time.
func TestNobodyAnswers(t *testing.T) {
	server := ubustest.New(t)
	us, err := ubus.Dial(t.Context(), server.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer us.Close()
	s := System{Bus: us}
	if _, err := s.Interfaces(t.Context()); ubus.StatusOf(err) != ubus.StatusNotFound {
		t.Errorf("%v", err)
	}
	if err := s.Reload(t.Context(), "dhcp"); ubus.StatusOf(err) != ubus.StatusNotFound {
		t.Errorf("%v", err)
	}
}

func FuzzParseDump(f *testing.F) {
	if t, err := ubus.ParseJSON([]byte(dump)); err == nil {
		f.Add(t.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := ubus.Decode(b)
		if err != nil {
			return
		}
		for _, i := range parseDump(table) {
			if i.Name == "" || len(i.Prefixes) > maxInterfaces {
				t.Errorf("%+v", i)
			}
			for _, p := range i.Prefixes {
				if !p.IsValid() || !p.Addr().Is4() {
					t.Errorf("%+v", i)
				}
			}
		}
	})
}
