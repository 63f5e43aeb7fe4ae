//! (see the page of this module)
