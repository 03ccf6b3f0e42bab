// SPDX-License-Identifier: GPL-2.0-or-later

//! How our module is attached to a server, and how it detaches.

mod detach;
mod facts;
mod interpose;
