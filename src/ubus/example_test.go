package ubus_test

import (
	"context"
	"errors"
	"fmt"

	"homeconf/src/ubus"
)

// Where ubusd runs: ask netifd for the addresses of the LAN, and hear of changes.
func Example() {
	ctx := context.Background()
	client, err := ubus.Dial(ctx, "")
	if err != nil {
		fmt.Println("no ubus here:", err)
		return
	}
	defer client.Close()

	status, err := client.Call(ctx, "network.interface.lan", "status", ubus.Table{})
	if errors.Is(err, ubus.StatusNotFound) {
		fmt.Println("there is no LAN")
		return
	}
	for address := range status.Array("ipv4-address").All() {
		if a, ok := address.Table(); ok {
			fmt.Println(a.Text("address"), a.Int("mask"))
		}
	}
	listener, err := client.Listen(ctx, "network.interface", func(_ string, data ubus.Table) {
		fmt.Println(data.Text("interface"), data.Text("action"))
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close(ctx)
}

func ExampleClient_AddObject() {
	ctx := context.Background()
	client, err := ubus.Dial(ctx, "")
	if err != nil {
		fmt.Println("no ubus here:", err)
		return
	}
	defer client.Close()

	doorbell, err := client.AddObject(ctx, ubus.Object{
		Path: "doorbell",
		Methods: []ubus.Method{{
			Name:   "ring",
			Params: []ubus.Param{{Name: "times", Type: ubus.TypeInt32}},
			Handle: func(_ context.Context, r *ubus.Request) (ubus.Table, error) {
				if r.Args.Int("times") < 1 {
					return new(ubus.Builder).String("message", "times: want 1 or more").Table(), ubus.StatusInvalidArgument
				}
				return ubus.Table{}, nil
			},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = doorbell.Notify(ctx, "door.opened", new(ubus.Builder).String("by", "nobody").Table())
	if err != nil {
		fmt.Println(err)
	}
}

func ExampleBuilder() {
	host := new(ubus.Builder).
		String("name", "tv").
		Strings("mac", "02:00:5e:aa:00:02").
		OpenTable("seen").Int("arp", 12).Bool("dhcp", true).Close().
		Table()
	fmt.Println(string(host.JSON()))
	fmt.Println(host.Table("seen").Int("arp"))
	// Output:
	// {"name":"tv","mac":["02:00:5e:aa:00:02"],"seen":{"arp":12,"dhcp":true}}
	// 12
}

func ExampleParseJSON() {
	args, err := ubus.ParseJSON([]byte(`{"config": "dhcp", "leases": [1, 2.5, null]}`))
	fmt.Println(args.Text("config"), args.Array("leases").Len(), err)
	// Output: dhcp 3 <nil>
}
