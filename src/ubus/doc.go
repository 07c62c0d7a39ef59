// Package ubus speaks OpenWrt's ubus: the messages that a process exchanges with
// ubusd over its unix socket, and blobmsg, their encoding. It needs nothing but
// the standard library, neither cgo nor reflection.
//
// [Dial] gives a [Client], which can make calls ([Client.Call]), find objects
// ([Client.Lookup]), send and hear events ([Client.Send], [Client.Listen]), hear
// an object's notifications ([Client.Subscribe]), and publish objects of its own
// ([Client.AddObject]). When ubusd restarts, the client connects again and
// registers again what was registered: objects, subscriptions and listeners.
//
// A [Table] is the one kind of value that ubus carries: arguments, results, and
// the data of events and notifications. It is a view of the bytes as they came,
// checked once and read in place, so that a large answer costs no more memory
// than its bytes. A [Builder] makes one.
//
// A refusal is a [Status], which is an error:
//
//	_, err := client.Call(ctx, "uci", "get", args)
//	if errors.Is(err, ubus.StatusNotFound) { … }
//
// One thing about ubus is worth knowing: ubusd never tells a caller that the
// provider of an object died while it owed an answer. Such a call ends when its
// context does, or after [DefaultTimeout].
package ubus
