// A collector for prometheus-node-exporter-ucode.
const metrics = ubus.call("homeconf", "metrics");

if (!metrics)
	return false;

for (let name in metrics) {
	if (!match(name, /^[a-z][a-z0-9_]*$/) || !(type(metrics[name]) in [ "int", "double" ]))
		continue;

	const make = match(name, /_total$/) ? counter : gauge;

	make(`homeconf_${name}`)(null, metrics[name]);
}
