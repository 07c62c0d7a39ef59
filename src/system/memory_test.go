package system

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"homeconf/src/model"
)

func set(a string) model.Settings {
	return model.Settings{Generation: 3, AddressingType: model.AddressingStatic, Address: netip.MustParsePrefix(a), Gateway: netip.MustParseAddr("192.168.1.1")}
}

// TestMemory holds the device in memory to what Device promises.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		m := &Memory{Home: netip.MustParsePrefix("192.168.1.1/24"), Offer: Lease{Address: netip.MustParsePrefix("192.168.1.100/24"), Gateway: netip.MustParseAddr("192.168.1.1")}}
		changes := 0
		ended := make(chan error)
		go func() { ended <- m.Watch(ctx, func() { changes++ }) }()
		synctest.Wait()
		for range 2 {
			if err := m.Apply(ctx, set("192.168.1.9/24")); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if m.String() != "apply Static 192.168.1.9/24 via 192.168.1.1" {
			t.Errorf("twice is not once: %v", m)
		}
		if changes == 0 {
			t.Error("nobody was told")
		}
		now, err := m.Current(ctx)
		if err != nil || !now.Same(set("192.168.1.9/24")) {
			t.Errorf("current: %+v, %v", now, err)
		}
		if err := m.Prove(ctx, set("192.168.1.9/24")); err != nil {
			t.Error(err)
		}
		if err := m.Prove(ctx, set("192.168.1.10/24")); err == nil {
			t.Error("an address that isn't there was proven")
		}
		if err := m.Apply(ctx, set("10.0.0.9/24")); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := m.Prove(short, set("10.0.0.9/24")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("another network was proven: %v", err)
		}
		if err := m.Apply(ctx, model.Settings{AddressingType: model.AddressingDHCP}); err == nil {
			t.Error("DHCP without a lease")
		}
		m.PowerCut()
		l, err := m.Lease(ctx)
		if err != nil || !m.Leased() {
			t.Fatal(err)
		}
		if err := m.Use(ctx, l); err != nil {
			t.Fatal(err)
		}
		if err := m.Apply(ctx, model.Settings{AddressingType: model.AddressingDHCP}); err != nil {
			t.Fatal(err)
		}
		rep, err := m.Report(ctx)
		if i, ok := rep.Interface(); err != nil || !ok || len(i.Addresses) != 1 || i.Addresses[0].Type != model.AddressingDHCP {
			t.Errorf("report: %+v, %v", rep, err)
		}
		if err := m.Release(ctx, l); err != nil || m.Leased() || m.In().Address.IsValid() {
			t.Errorf("released: %v, %+v", err, m.In())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := m.Report(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
	})
}
