// Package model is homeconf's data model: plain structs, enumerations and
// their validation. It does no I/O and knows no clock.
//
// Names follow TR-181 Issue 2 Amendment 19 (2.19.1) where it has an object:
// DeviceInfo, IP.Interface.{i}.IPv4Address.{i}, Hosts.Host.{i},
// DHCPv4.Server.Pool.{i}.StaticAddress.{i}, QoS.Classification.{i}.
package model
