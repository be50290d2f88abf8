# SPDX-License-Identifier: Apache-2.0
"""The systemd driver: the container's cgroup is that of a transient scope unit, which systemd makes and watches.

names.py         which unit, in which slice, with which cgroup path
properties.py    what systemd is told about the unit
device_list.py   the device rules in systemd's words
steps.py         which steps make the unit, and change it
scope.py         how these steps are done and undone
holder.py        what is in the scope before init is
bus.py           how systemd is spoken to
connection.py    how a D-Bus connection begins, and messages get through it
message.py       what a D-Bus message consists of
marshalling.py   how values become bytes, and bytes values

names, properties, device_list, steps, message and marshalling are pure. Everything here is loaded only for a container with a unit.
"""
