package sighting

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"homeconf/src/model"
	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// TestBus: leases and stations are known as soon as dnsmasq and hostapd tell,
// those that were there before us, too, and go when they are told to be gone.
func TestBus(t *testing.T) {
	ubustest.Each(t, func(t *testing.T, server *ubustest.Server) {
		us, err := ubus.Dial(t.Context(), server.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer us.Close()
		them, err := ubus.Dial(t.Context(), server.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer them.Close()
		publish := func(path string, methods ...ubus.Method) *ubus.Published {
			t.Helper()
			p, err := them.AddObject(t.Context(), ubus.Object{Path: path, Methods: methods})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		dnsmasq := publish("dnsmasq", ubus.Method{Name: "metrics", Handle: func(context.Context, *ubus.Request) (ubus.Table, error) { return ubus.Table{}, nil }})

		ctx, cancel := context.WithCancel(t.Context())
		h := &heard{all: map[heardKey]heardEvidence{}}
		poked, done := make(chan struct{}, 100), make(chan error, 1)
		go func() {
			done <- watchBus(ctx, Config{Device: "br-lan", Bus: us, Log: slog.New(slog.DiscardHandler)}, h, func() { poked <- struct{}{} })
		}()
		see := func(want string) {
			t.Helper()
			got := ""
			for range 2000 {
				var b strings.Builder
				for mac, s := range Merge(h.evidence()) {
					fmt.Fprintf(&b, "%s %v %s %v\n", mac, s.Addrs, s.Port, s.HostName)
				}
				if got = b.String(); got == want {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
			t.Errorf("seen\n%swant\n%s", got, want)
		}
		tell := func(p *ubus.Published, method, args string) {
			t.Helper()
			data, err := ubus.ParseJSON([]byte(args))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; !p.Subscribed(); i++ {
				if i == 2000 {
					t.Fatal("nobody subscribes")
				}
				time.Sleep(5 * time.Millisecond)
			}
			if err := p.Notify(t.Context(), method, data); err != nil {
				t.Fatal(err)
			}
		}
		tell(dnsmasq, "dhcp.ack", `{"mac":"02:00:00:00:00:09","ip":"10.0.0.9","interface":"guest"}`)
		tell(dnsmasq, "dhcp.ack", `{"mac":"02:00:00:00:00:01","ip":"192.168.1.100","name":"stb\u001b[31m","interface":"br-lan"}`)
		see("02:00:00:00:00:01 [192.168.1.100]  stb[31m\n")
		tell(dnsmasq, "dhcp.ack", `{"mac":"nonsense","ip":7}`)
		tell(dnsmasq, "dhcp.release", `{"mac":"02:00:00:00:00:01","ip":"192.168.1.100","interface":"br-lan"}`)
		see("")

		clients, err := ubus.ParseJSON([]byte(`{"freq":5180,"clients":{"02:00:00:00:00:02":{"auth":true},"bad":{}}}`))
		if err != nil {
			t.Fatal(err)
		}
		ap := publish("hostapd.phy0-ap0", ubus.Method{Name: "get_clients", Handle: func(context.Context, *ubus.Request) (ubus.Table, error) { return clients, nil }})
		see("02:00:00:00:00:02 [] phy0-ap0 \n")
		tell(ap, "probe", `{"address":"02:00:00:00:00:77"}`)
		tell(ap, "disassoc", `{"address":"02:00:00:00:00:02"}`)
		see("")
		tell(ap, "assoc", `{"address":"02:00:00:00:00:03"}`)
		see("02:00:00:00:00:03 [] phy0-ap0 \n")
		if err := ap.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		see("")
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("does not end")
		}
	})
}

// TestBusIsBounded: somebody who makes MAC addresses up fills a table and no more.
func TestBusIsBounded(t *testing.T) {
	h := &heard{all: map[heardKey]heardEvidence{}}
	for i := range 10 * maxDevices {
		h.station("ap", "assoc", new(ubus.Builder).String("address", model.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}.String()).Table())
	}
	if n := len(h.evidence()); n != maxDevices {
		t.Errorf("%d are kept", n)
	}
}
