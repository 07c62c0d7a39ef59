package ubus_test

import (
	"context"
	"testing"

	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// devices is what a home of fifty devices answers to status.
func devices() ubus.Table {
	var b ubus.Builder
	b.OpenArray("devices")
	for range 50 {
		b.OpenTable("").String("id", "m02005eaa0002").String("name", "Set-top box").String("category", "AV_STB").
			String("address", "192.168.1.20").Bool("active", true).Int("lease", 43200).Strings("findings").Close()
	}
	return b.Table()
}

func BenchmarkEncode50Devices(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(devices().Bytes())))
	}
}

func BenchmarkDecode50Devices(b *testing.B) {
	wire := devices().Bytes()
	b.SetBytes(int64(len(wire)))
	b.ReportAllocs()
	for b.Loop() {
		t, err := ubus.Decode(wire)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for v := range t.Array("devices").All() {
			if d, ok := v.Table(); ok && d.Bool("active") && d.Int("lease") == 43200 {
				n++
			}
		}
		if n != 50 {
			b.Fatal(n)
		}
	}
}

func BenchmarkJSON50Devices(b *testing.B) {
	text := devices().JSON()
	b.ReportAllocs()
	for b.Loop() {
		t, err := ubus.ParseJSON(text)
		if err != nil || len(t.JSON()) != len(text) {
			b.Fatal(err)
		}
	}
}

// A call's round trip: caller, server, provider and back, all over unix sockets.
func BenchmarkCall(b *testing.B) {
	b.Run("broker", func(b *testing.B) { benchmarkCall(b, ubustest.New(b).Path) })
	b.Run("ubusd", func(b *testing.B) { benchmarkCall(b, ubustest.Real(b).Path) })
}

func benchmarkCall(b *testing.B, path string) {
	ctx := context.Background()
	provider, c := dial(b, ubus.Dialer{Path: path}), dial(b, ubus.Dialer{Path: path})
	answer := devices()
	must[*ubus.Published](b)(provider.AddObject(ctx, ubus.Object{Path: "bench", Methods: []ubus.Method{
		{Name: "empty", Handle: func(context.Context, *ubus.Request) (ubus.Table, error) { return ubus.Table{}, nil }},
		{Name: "status", Handle: func(context.Context, *ubus.Request) (ubus.Table, error) { return answer, nil }},
	}}))
	for _, method := range []string{"empty", "status"} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Call(ctx, "bench", method, ubus.Table{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
