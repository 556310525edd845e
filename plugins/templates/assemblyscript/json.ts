// Reads the members of one flat JSON object: enough for a configuration, which
// the engine has checked against the plugin's schema before it comes here.

export class Config {
  private members: Map<string, string> = new Map();
  private at: i32 = 0;

  constructor(private json: string) {
    this.skip("{");
    while (this.at < json.length && this.peek() != "}") {
      const key = this.text();
      this.skip(":");
      this.members.set(key, this.peek() == '"' ? this.text() : this.word());
      this.skip(",");
    }
  }

  string(key: string, fallback: string): string {
    return this.members.has(key) ? this.members.get(key) : fallback;
  }

  number(key: string, fallback: f64): f64 {
    return this.members.has(key) ? parseFloat(this.members.get(key)) : fallback;
  }

  /** The next character that is no space. */
  private peek(): string {
    while (this.at < this.json.length && this.json.charCodeAt(this.at) <= 0x20) this.at++;
    return this.json.charAt(this.at);
  }

  private skip(character: string): void {
    if (this.peek() == character) this.at++;
  }

  /** A number, true, false or null. */
  private word(): string {
    const start = this.at;
    while (this.at < this.json.length && !",} \n\r\t".includes(this.json.charAt(this.at))) this.at++;
    return this.json.substring(start, this.at);
  }

  private text(): string {
    this.skip('"');
    let text = "";
    while (this.at < this.json.length) {
      let character = this.json.charAt(this.at++);
      if (character == '"') break;
      if (character == "\\") {
        character = this.json.charAt(this.at++);
        if (character == "n") character = "\n";
        else if (character == "t") character = "\t";
        else if (character == "r") character = "\r";
        else if (character == "b") character = "\b";
        else if (character == "f") character = "\f";
        else if (character == "u") {
          const code = parseInt(this.json.substring(this.at, this.at + 4), 16);
          character = String.fromCharCode(<i32>code);
          this.at += 4;
        }
      }
      text += character;
    }
    return text;
  }
}
