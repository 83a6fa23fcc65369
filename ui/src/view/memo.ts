// Keeps a component's last rendering while `same` says that its properties mean the same.

import { Component, h, type ComponentChildren, type FunctionComponent } from "preact";

export function memo<P extends object>(inner: FunctionComponent<P>, same: (before: P, after: P) => boolean): new (props: P) => Component<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(after: P): boolean {
      return !same(this.props as P, after);
    }
    override render(): ComponentChildren {
      return h(inner as FunctionComponent<object>, this.props as P);
    }
  };
}
