package ubus_test

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"

	"homeconf/src/ubus"
	"homeconf/src/ubus/ubustest"
)

// What OpenWrt's own program makes of our objects, events and notifications.
func TestCommandLine(t *testing.T) {
	program, err := exec.LookPath("ubus")
	if err != nil {
		t.Skip("no ubus on the PATH")
	}
	ubustest.Each(t, func(t *testing.T, s *ubustest.Server) {
		ctx := within(t)
		c := dial(t, ubus.Dialer{Path: s.Path})
		states := newLog()
		o := ubus.Object{Path: "homeconf", Subscribed: func(on bool) { states.add("%t", on) }}
		for _, typ := range []ubus.Type{ubus.TypeString, ubus.TypeInt32, ubus.TypeInt64, ubus.TypeBool, ubus.TypeDouble,
			ubus.TypeTable, ubus.TypeArray} {
			o.Methods = append(o.Methods, ubus.Method{Name: "take_" + typ.String(),
				Params: []ubus.Param{{Name: "v", Type: typ}, {Name: "ubus_rpc_session", Type: ubus.TypeString}},
				Handle: func(_ context.Context, r *ubus.Request) (ubus.Table, error) { return r.Args, nil }})
		}
		o.Methods = append(o.Methods, demo("").Methods...)
		p := must[*ubus.Published](t)(c.AddObject(ctx, o))
		run := func(args ...string) string {
			out, err := exec.Command(program, append([]string{"-s", s.Path}, args...)...).CombinedOutput()
			if err != nil {
				out = append(out, err.Error()...)
			}
			return strings.Join(strings.Fields(string(out)), " ")
		}
		for _, tt := range []struct{ args, want string }{
			{"list", "homeconf"},
			{"-v list homeconf", `"take_string":{"v":"String","ubus_rpc_session":"String"}`},
			{"-v list homeconf", `"take_int32":{"v":"Integer"`},
			{"-v list homeconf", `"take_int8":{"v":"Boolean"`},
			{"-v list homeconf", `"take_array":{"v":"Array"`},
			{`call homeconf echo {"a":[1,{"b":null}],"c":1.5,"d":true,"e":-5000000000}`,
				`{ "a": [ 1, { "b": null } ], "c": 1.500000, "d": true, "e": -5000000000 }`},
			{`call homeconf fail {"code":6}`, "(Permission denied)"},
			{`call homeconf fail {"code":6}`, `"message": "because"`},
			{`call homeconf nonsense`, "(Method not found)"},
			{"call nobody m", "Not found"},
		} {
			if got := run(strings.Fields(tt.args)...); !strings.Contains(got, tt.want) {
				t.Errorf("ubus %s says %s, want %s", tt.args, got, tt.want)
			}
		}

		heard := newLog()
		must[*ubus.Listener](t)(c.Listen(ctx, "vec.*", func(event string, data ubus.Table) {
			heard.add("%s %s", event, data.JSON())
		}))
		run("send", "vec.test", `{"a":1}`)
		heard.want(t, `vec.test {"a":1}`)

		subscriber := exec.Command(program, "-s", s.Path, "subscribe", "homeconf")
		out, err := subscriber.StdoutPipe()
		if err == nil {
			err = subscriber.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		states.want(t, "true")
		if err := p.Notify(ctx, "device.added", new(ubus.Builder).String("id", "m02").Table()); err != nil {
			t.Error(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if want := `{ "device.added": {"id":"m02"} }`; err != nil || strings.TrimSpace(line) != want {
			t.Errorf("ubus subscribe says %s, %v", line, err)
		}
		subscriber.Process.Kill()
		subscriber.Wait()
		states.want(t, "false")
	})
}
